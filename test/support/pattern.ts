/** The bytes that a seed stands for; the same in test/conformance/c-actor/memory.c. */
export const pattern = (index: number, seed: number): number => Math.imul(index ^ seed, 0x9e3779b1) >>> 24
