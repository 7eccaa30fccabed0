// On the full screen the controls fade without input, and come back with a pointer movement or a key.

import { mark, type Ends } from '../dom';

/** How long without input the controls stay, in ms. */
const REST = 3000;

export function fadeAtRest(root: HTMLElement, ends: Ends): void {
  let rest: ReturnType<typeof setTimeout> | undefined;
  const wake = (): void => {
    clearTimeout(rest);
    mark(root, 'data-idle', false);
    if (document.fullscreenElement === root) rest = setTimeout(() => mark(root, 'data-idle', true), REST);
  };
  for (const kind of ['pointermove', 'pointerdown'] as const) ends.listen(root, kind, wake);
  ends.listen(document, 'keydown', wake);
  ends.listen(document, 'fullscreenchange', wake);
  ends.add(() => clearTimeout(rest));
}
