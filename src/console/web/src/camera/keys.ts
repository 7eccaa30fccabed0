// One key, one act. Keys typed into fields, or with Ctrl, Alt or the like, belong to somebody else.

export type Acts = Readonly<Record<string, (event: KeyboardEvent) => void>>;

/** The act that a key stands for, if the key is ours. Space and Enter on a control work that control. */
export function actFor(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'target'>, acts: Acts): ((event: KeyboardEvent) => void) | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const target = event.target as Partial<HTMLElement> | null;
  const tag = target?.tagName ?? '';
  if (tag === 'TEXTAREA' || tag === 'SELECT' || (tag === 'INPUT' && !['radio', 'range', 'checkbox'].includes((target as HTMLInputElement).type))) return undefined;
  if ((event.key === ' ' || event.key === 'Enter') && ['BUTTON', 'A', 'SUMMARY', 'INPUT'].includes(tag)) return undefined;
  if (event.key.startsWith('Arrow') && tag === 'INPUT') return undefined;
  return acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
}
