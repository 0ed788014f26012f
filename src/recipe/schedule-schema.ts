import type { PlateauSchedule } from '../optim/plateau.js'
import type {
  ConstantSchedule,
  DecaySchedule,
  ExponentialSchedule,
  InverseSqrtSchedule,
  OneCycleSchedule,
  StepSchedule,
} from '../optim/schedule.js'
import { choice, type JsonSchema, kind, kinds, list, object, real, text, whole } from '../util/json-schema.js'

const share = { minimum: 0, maximum: 1 }
const warmup = whole(0, 'steps until the full learning rate')
const floor = real(share, 'the share of the learning rate left at the end')
const per = choice(['step', 'epoch'], 'what the schedule counts')
const drop = real(share, 'what the learning rate is multiplied by')
const divisor = { minimum: 1 }

export const scheduleSchema: JsonSchema = kinds(
  object<ConstantSchedule>({ kind: kind('constant'), warmup }, ['kind']),
  object<DecaySchedule<'cosine'>>({ kind: kind('cosine'), warmup, per, floor }, ['kind']),
  object<DecaySchedule<'linear'>>({ kind: kind('linear'), warmup, per, floor }, ['kind']),
  object<StepSchedule>(
    {
      kind: kind('step'),
      warmup,
      per,
      every: whole(1, 'steps between two drops'),
      at: list(whole(0), { minItems: 1 }, 'the steps of the drops'),
      factor: drop,
    },
    ['kind'],
  ),
  object<ExponentialSchedule>({ kind: kind('exponential'), warmup, per, factor: drop }, ['kind', 'factor']),
  object<InverseSqrtSchedule>({ kind: kind('inverse-sqrt'), warmup: whole(1, 'steps until the full learning rate') }, [
    'kind',
    'warmup',
  ]),
  object<OneCycleSchedule>(
    {
      kind: kind('one-cycle'),
      div: real(divisor, 'the peak over the start'),
      finalDiv: real(divisor, 'the start over the end'),
      pctStart: real(share, 'the share of the run in which the learning rate rises'),
      anneal: choice(['cosine', 'linear'], 'the shape of the two phases'),
    },
    ['kind'],
  ),
  object<PlateauSchedule>(
    {
      kind: kind('plateau'),
      warmup,
      metric: text('the measure to follow'),
      mode: choice(['min', 'max'], 'which values are better'),
      factor: drop,
      patience: whole(0, 'evaluations without improvement before a drop'),
      threshold: real({ minimum: 0 }, 'the least improvement that counts, as a share'),
      cooldown: whole(0, 'evaluations after a drop that do not count'),
      floor,
    },
    ['kind'],
  ),
)
