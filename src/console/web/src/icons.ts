// The few pictograms, as paths on a 24 by 24 grid, drawn with the colour of the text around them.

const paths = {
  play: 'M8 5v14l11-7z',
  pause: 'M7 5h4v14H7zM13 5h4v14h-4z',
  stepBack: 'M6 5h2v14H6zM18 5v14l-9-7z',
  stepForward: 'M16 5h2v14h-2zM6 5v14l9-7z',
  back: 'M15.5 5 8.5 12l7 7',
  next: 'M8.5 5l7 7-7 7',
  back10: 'M11 7 5 12l6 5zM19 7l-6 5 6 5z',
  forward10: 'M13 7l6 5-6 5zM5 7l6 5-6 5z',
  sound: 'M4 9v6h4l5 4V5L8 9zM16 8.5a5 5 0 0 1 0 7M18.5 6a8.5 8.5 0 0 1 0 12',
  mute: 'M4 9v6h4l5 4V5L8 9zM16.5 9.5l5 5M21.5 9.5l-5 5',
  full: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
  leaveFull: 'M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5',
  search: 'M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM15.5 15.5 20 20',
  grid: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
  link: 'M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1-1',
  download: 'M12 4v11M7.5 11 12 15.5 16.5 11M5 20h14',
  info: 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zM12 11v5.5M12 7.6v.1',
  keys: 'M3 6h18v12H3zM6.5 9.5h.1M10 9.5h.1M13.5 9.5h.1M17 9.5h.1M7 14.5h10',
  clock: 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zM12 7v5l3.5 2',
  image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.1',
  close: 'M6 6l12 12M18 6 6 18',
  user: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20a7.5 7.5 0 0 1 15 0',
  sliders: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4',
  plus: 'M12 5v14M5 12h14',
  minus: 'M5 12h14',
  up: 'M6 15l6-6 6 6',
  down: 'M6 9l6 6 6-6',
  star: 'M12 4l2.5 5.2 5.6.8-4 4 .9 5.7L12 17l-5 2.7.9-5.7-4-4 5.6-.8z',
  in: 'M9 4H5v16h4M10 12h9M15.5 8.5 19 12l-3.5 3.5',
  out: 'M15 4h4v16h-4M14 12H5M8.5 8.5 5 12l3.5 3.5',
  warning: 'M12 4 2.8 20h18.4zM12 10v5M12 17.4v.1',
  noSignal: 'M3 3l18 18M5 9.5A11 11 0 0 1 9 7M12.5 6.2A11 11 0 0 1 19.5 9.5M8 13a6 6 0 0 1 3-1.8M12 17.5h.1',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z',
} as const;

const solid = new Set(['play', 'pause', 'stepBack', 'stepForward', 'back10', 'forward10', 'grid']);

export type Icon = keyof typeof paths;

/** An icon, hidden from assistive technology: the control beside it carries the words. */
export function icon(name: Icon): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', solid.has(name) ? 'icon solid' : 'icon');
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', paths[name]);
  svg.append(path);
  return svg;
}
