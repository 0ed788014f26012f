import { expect, it } from 'vitest'
import { convolution, linear } from '../../models/layers.js'
import { Weights } from '../../models/weights.js'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { imageColumn } from '../../src/data/image/image-column.js'
import { input } from '../../src/ir/leaf.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../src/onnx/model.js'
import { op } from '../../src/op/op.js'
import { describeWithChromium } from '../web/browser.js'
import { idxOf } from '../web/pretrained.js'
import { checkExport, csv, openTable, rows, small, useDigits } from './examples.js'
import { openPlayground, patience } from './playground.js'

describeWithChromium('files opened in the playground', openPlayground, (browser) => {
  it(
    'invalid file > shows the reason, and accepts another file',
    async () => {
      const page = browser()
      await page.open()
      const refused = async (name: string, content: Uint8Array | string) => {
        await page.openModel(name, content)
        return page.says(/ is open/).then(
          () => '',
          (error: Error) => error.message,
        )
      }
      expect(await refused('notes.onnx', 'Dear diary, this is no model.')).toMatch(
        /^the page says: notes.onnx: not an ONNX model: it is a text file/,
      )
      expect(await refused('rows.csv', csv)).toMatch(/rows.csv: not an ONNX model: it is a text file/)
      expect(await refused('cut.onnx', small.subarray(0, small.length / 2))).toMatch(/cut.onnx: /)
      const shape = { name: 'x', dtype: 'float32', dims: ['N', 2, 5, 7] } as const
      const odd = { name: 'odd', inputs: new Map([['x', input('x', shape.dtype, shape.dims)]]) }
      const model = modelOf({ ...odd, outputs: new Map([['y', op.Relu(odd.inputs.get('x')!)]]) })
      expect(await refused('odd.onnx', encodeModel(model))).toMatch(/square pictures/)
      // A file dropped beside the drop zone does not replace the page.
      const isPrevented = await page.tab.evaluate(
        () => !document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true })),
      )
      expect(isPrevented).toBe(true)
      await openTable(page)
      await page.tab.setInputFiles('#csv', page.file('empty.csv', ''))
      await expect(page.says(/Choose the column/)).rejects.toThrow(/empty.csv is empty/)
      await page.set({ epochs: '0' })
      // A wrong value is shown, also if the settings are folded.
      await page.tab.evaluate(() =>
        document.querySelector<HTMLDetailsElement>('#settings-section')!.removeAttribute('open'),
      )
      await page.tab.click('#train')
      await expect(page.says(/^Done/)).rejects.toThrow(/^the page says: Epochs: /)
      expect(await page.tab.isVisible('#epochs')).toBe(true)
      // A table that cannot be read is not used, nor is the one before it.
      expect(await page.tab.isDisabled('#use-csv')).toBe(true)
      await page.tab.fill('#lr', '1')
      await page.train({ epochs: '1', batch: '40' })
      await page.says(/^Done/)
    },
    patience,
  )

  it(
    'tables with other delimiters > are read; a column without classes is explained',
    async () => {
      const page = browser()
      await openTable(page)
      const choose = async (name: string, text: string) => {
        await page.tab.setInputFiles('#csv', page.file(name, text))
        await page.says(/Choose the column/)
        await page.tab.click('#use-csv')
        return page.says(/^Ready/)
      }
      await choose('semicolons.csv', csv.replaceAll(',', ';'))
      expect(await page.text('#data-summary')).toMatch(/^80 examples of 2 classes: above /)
      await choose('tabs.tsv', csv.replaceAll(',', '\t'))
      const measured = ['a,b,c,y', ...rows.map(({ numbers }) => `${numbers.join()},${numbers[0]! / 3}`)].join('\n')
      await expect(choose('measured.csv', measured)).rejects.toThrow(
        /'y' holds 80 different values in 80 rows, which are no classes: .* mse\(\)/,
      )
      const named = ['a,b,c,name', ...rows.map(({ numbers }, i) => `${numbers.join()},number ${i}`)].join('\n')
      await expect(choose('named.csv', named)).rejects.toThrow(/'name' holds 80 different values/)
      await expect(choose('one.csv', 'notes\nhello\n')).rejects.toThrow(/one.csv has one column only: .*semicolons/)
      await choose('two.csv', 'a,b,c,s\n1,2,3,x\n1,2,4,y')
      await page.train({ held: '0.2' })
      await expect(page.says(/^Done/)).rejects.toThrow(/Of 2 examples a share of 0.2 leaves none for evaluation: /)
      expect(await page.tab.isEnabled('#train')).toBe(true)
    },
    patience,
  )

  it(
    'options missing in a file > are inferred, or requested from the user',
    async () => {
      const page = browser()
      await page.open()
      const open = async (name: string, dims: readonly (string | number)[]) => {
        const weights = new Weights(1)
        const x = input('x', 'float32', dims)
        const features = op.Flatten(op.Relu(convolution(weights, 'conv', x, 1, 6, { stride: 2 })))
        const y = linear(weights, 'head', features, 6 * 14 * 14, 3)
        const graph = {
          name: 'open',
          inputs: new Map([['x', x]]),
          parameters: weights.parameters,
          outputs: new Map([['y', y]]),
        }
        await page.openModel(name, encodeModel(modelOf(graph)))
        await page.says(new RegExp(`^${name} is open`))
      }
      // One channel, from the convolution; the image size follows from the linear layer and is not declared.
      await open('open.onnx', ['N', 'C', 'H', 'W'])
      await useDigits(page, [0, 1, 2], 60)
      await page.train({ epochs: '1' })
      await expect(page.says(/^Done/)).rejects.toThrow(/does not run on images of 64 x 64\. .*try the size/)
      await page.set({ size: '28' })
      await page.says(/choose the data again/)
      const { pixels, labels: names } = await useDigits(page, [0, 1, 2], 60)
      await page.train({ epochs: '1' })
      await page.says(/^Done/)
      await checkExport(page, 'ire', fromArrays({ x: imageColumn(pixels, { size: 28 }), labels: labelColumn(names) }))
      await open('fixed.onnx', ['N', 1, 28, 28])
      expect(await page.tab.inputValue('#size')).toBe('28')
      expect(await page.tab.isDisabled('#size')).toBe(true)
      const file = page.file('again-idx3-ubyte', idxOf(pixels))
      await page.tab.setInputFiles('#idx-labels', file)
      await page.tab.click('#use-idx')
      await expect(page.says(/^Ready/)).rejects.toThrow(/\[60, 28, 28\]; labels are one number per image/)
    },
    patience,
  )
})
