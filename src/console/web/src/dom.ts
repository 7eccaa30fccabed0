// Elements without a framework and without markup in strings: nothing that came from elsewhere is ever parsed as HTML.

export type Child = Node | string | number | null | undefined | false;
type Props = Record<string, unknown> & { class?: string; on?: Record<string, (event: never) => void> };

/** Makes an element. `on` holds listeners; `true` and `false` set and leave out an attribute; known properties are set as such. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') for (const [type, listener] of Object.entries(value as object)) element.addEventListener(type, listener as EventListener);
    else if (name === 'class') element.className = String(value);
    else if (properties.has(name)) (element as unknown as Record<string, unknown>)[name] = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const properties = new Set(['value', 'checked', 'muted', 'disabled', 'hidden', 'selected', 'autofocus']);

/** Sets an element's words only if they differ, so that nothing is painted or announced twice. */
export function say(element: Element, words: string): void {
  if (element.textContent !== words) element.textContent = words;
}

/** Sets or removes an attribute only if that changes it. */
export function mark(element: Element, name: string, value: string | boolean | undefined): void {
  if (value === false || value === undefined) { if (element.hasAttribute(name)) element.removeAttribute(name); return; }
  const wanted = value === true ? '' : value;
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

/** What a view hands back: its root, and how to end it. */
export interface View { readonly root: HTMLElement; close(): void }

/** Collects what must end with a view. */
export class Ends {
  private readonly list: (() => void)[] = [];
  readonly signal: AbortSignal;
  constructor() {
    const controller = new AbortController();
    this.signal = controller.signal;
    this.list.push(() => controller.abort());
  }
  add(end: () => void): void { this.list.push(end); }
  every(ms: number, act: () => void): void { const timer = setInterval(act, ms); this.add(() => clearInterval(timer)); }
  listen<T extends EventTarget>(target: T, type: string, listener: (event: never) => void, options: AddEventListenerOptions = {}): void {
    target.addEventListener(type, listener as EventListener, { ...options, signal: this.signal });
  }
  all(): void { for (const end of this.list.splice(0).reverse()) end(); }
}
