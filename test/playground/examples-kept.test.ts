import { expect, it } from 'vitest'
import type { DataPanel } from '../../tools/playground/page/data-panel.js'
import { showChoice } from '../../tools/playground/page/kept-examples.js'

it('stored examples of two classes of the same name > are shown once', () => {
  const cards: string[][] = []
  const data = {
    choose: () => {},
    cards: {
      reset: (names: readonly string[]) => void cards.splice(0, cards.length, ...names.map(() => [])),
      fill: (index: number, pictures: readonly string[]) => void cards[index]!.push(...pictures),
    },
  } as unknown as DataPanel
  const example = (label: string, name: string) => {
    const pixels = Object.assign(name, { width: 160 }) as unknown as ImageData
    return { pixels, label }
  }
  const examples = [example('tall', '1'), example('tall', '2'), example('flat', '3'), example('tall', '4')]
  showChoice(data, { kind: 'shown', classes: ['tall', 'flat', 'tall'], examples })
  expect(cards.map((pictures) => pictures.map(String))).toEqual([['1', '2', '4'], ['3']])
})
