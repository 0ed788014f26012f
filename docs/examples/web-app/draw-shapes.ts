import type { FolderFile } from 'onnx-ire/web'

/** Draws images to learn from: circles, squares and stars in random places and sizes. */
export async function drawShapes(perClass: number): Promise<FolderFile[]> {
  const files: FolderFile[] = []
  for (const [name, points] of Object.entries({ circle: 40, square: 4, star: 10 }))
    for (let i = 0; i < perClass; i++) {
      const canvas = new OffscreenCanvas(28, 28)
      const context = canvas.getContext('2d')!
      context.fillRect(0, 0, 28, 28)
      context.translate(11 + Math.random() * 6, 11 + Math.random() * 6)
      context.rotate(Math.random() * 2 * Math.PI)
      const radius = 6 + Math.random() * 5
      for (let k = 0; k < points; k++) {
        const [angle, reach] = [(2 * Math.PI * k) / points, name === 'star' && k % 2 ? 0.4 * radius : radius]
        context.lineTo(reach * Math.sin(angle), reach * Math.cos(angle))
      }
      context.fillStyle = 'white'
      context.fill()
      files.push({ path: `${name}/${i}.png`, file: await canvas.convertToBlob() })
    }
  return files
}
