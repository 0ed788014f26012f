import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { readCifar10, readCifar100 } from '../../../src/node/data/cifar.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()
const record = (...labels: number[]) => Buffer.from([...labels, ...Array<number>(3072).fill(labels[0]!)])

describe('CIFAR', () => {
  it('binary files > images and labels are read', async () => {
    for (let i = 1; i <= 5; i++) await put(`ten/data_batch_${i}.bin`, Buffer.concat([record(i), record(i + 1)]))
    await put('ten/test_batch.bin', record(9))
    const train = await readCifar10(path('ten'), 'train')
    expect([...train.labels.data].map(Number)).toEqual([1, 2, 2, 3, 3, 4, 4, 5, 5, 6])
    expect(train.pixels.dims).toEqual([10, 32, 32, 3])
    expect(train.pixels.data[9 * 3072]).toBe(6)
    expect(train.files.map((file) => file.slice(-5))).toEqual(['1.bin', '2.bin', '3.bin', '4.bin', '5.bin'])
    expect(train.classes).toEqual(Array.from({ length: 10 }, (_, i) => String(i)))
    const names = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']
    await put('ten/batches.meta.txt', `${names.join('\n')}\n\n`)
    expect(await readCifar10(path('ten'), 'test')).toMatchObject({ classes: names, labels: { dims: [1] } })
  })

  it('100 classes, compressed files > superclasses are read', async () => {
    await put('hundred/train.bin.gz', gzipSync(Buffer.concat([record(3, 71), record(0, 5)])))
    await put('hundred/coarse_label_names.txt', Array.from({ length: 20 }, (_, i) => `group ${i}`).join('\n'))
    const { labels, coarse, classes, coarseClasses } = await readCifar100(path('hundred'), 'train')
    expect([...labels.data, ...coarse!.data]).toEqual([71n, 5n, 3n, 0n])
    expect([classes.length, coarseClasses?.[3]]).toEqual([100, 'group 3'])
  })

  it('damaged or missing files > rejects', async () => {
    const train = () => readCifar10(path('bad'), 'train')
    expect(await rejectedMessage('io', train)).toMatch('no such folder')
    await put('bad/data_batch_1.bin', record(1).subarray(0, 1000))
    expect(await rejectedMessage('io', train)).toMatch('has no data_batch_2.bin')
    for (let i = 2; i <= 5; i++) await put(`bad/data_batch_${i}.bin`, record(1))
    expect(await rejectedMessage('invalid-data', train)).toMatch(
      /bad\/data_batch_1\.bin: .* the file ends at offset 1000/,
    )
    await put('bad/data_batch_1.bin', record(1))
    await put('bad/batches.meta.txt', 'cat\ndog\n')
    expect(await rejectedMessage('invalid-data', train)).toMatch(/batches\.meta\.txt has 2 class names.* 10 /)
  })
})
