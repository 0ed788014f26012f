import type { Recipe } from '../../recipe/recipe.js'
import { MetricMonitor, type MonitorOptions, type MonitorState } from '../../train/metric-monitor.js'
import type { IntervalMetrics } from '../../train/options.js'

/** Validation results of a whole run, resumed parts included. */
export interface RunSummary {
  /** The best evaluation by the monitored metric; null if no metric is monitored. */
  readonly best: { readonly metric: string; readonly value: number; readonly step: number } | null
  /** Number of evaluations without improvement that stopped the run early; else null. */
  readonly stoppedAfter: number | null
}

/**
 * Summarizes the evaluations of a run.
 * @param evaluations all of the run, in order
 */
export function summarizeRun({ best, earlyStopping }: Recipe, evaluations: readonly IntervalMetrics[]): RunSummary {
  const bestOptions = best === true ? {} : best || undefined
  const monitored = bestOptions ?? earlyStopping
  const state = monitored && finalState(monitored, evaluations)
  const waited = earlyStopping && finalState(earlyStopping, evaluations)?.waited
  return {
    best: state ? { metric: monitored?.metric ?? 'loss', value: state.value, step: state.step } : null,
    stoppedAfter: earlyStopping && waited !== undefined && waited >= earlyStopping.patience ? waited : null,
  }
}

function finalState(options: MonitorOptions, evaluations: readonly IntervalMetrics[]): MonitorState | null {
  const monitor = new MetricMonitor(options)
  for (const { validation, step } of evaluations) if (validation) monitor.add(validation, step)
  return monitor.state
}
