export function main(argv: readonly string[]): Promise<number> {
  return Promise.resolve(argv.length);
}
