// How long each image is shown while they blink: far fewer than three changes a second, which could hurt people.
const BLINK_MS = 700;
// Images whose proportions differ by at most this factor are laid over each other exactly.
const SAME_PROPORTIONS = 1.06;
const ACTION_OF = { k: 'accept', a: 'all', o: 'only', s: 'skip', u: 'undo', ArrowLeft: 'previous', ArrowRight: 'next' };
const VIEW_OF = { ' ': 'turn', b: 'blink', d: 'difference' };

export default function ({ parentElement, data, setTriggerValue }) {
  const dialog = parentElement.querySelector('dialog');
  const find = (selector) => dialog.querySelector(selector);
  // What the browser alone knows; it stays when the server sends another set.
  const view = (dialog.view ??= { set: null, other: 1, shown: 0, blink: false, difference: false, pressed: -1 });
  const set = data.set;
  const files = set?.files ?? [];
  if (view.set !== set?.key) Object.assign(view, { set: set?.key, other: 1, shown: 0 });
  view.waits = false;
  // Streamlit calls this function for each set, and what it returns only at the end.
  dialog.leave?.();
  const controller = new AbortController();
  const { signal } = controller;

  const press = (action) => {
    const button = find(`[data-action=${action}]`);
    if (view.waits || button.disabled) return;
    view.waits = true;
    // A set that comes back is not the one that was decided about: the key says which one it meant.
    setTriggerValue('pressed', { action, set: set?.key ?? null, path: files[current()]?.path ?? null, at: Date.now() });
  };
  const current = () => (view.shown ? view.other : 0);

  const look = {
    turn: () => { view.difference = false; view.blink = false; view.shown = 1 - view.shown; },
    blink: () => { view.difference = false; view.blink = !view.blink; },
    difference: () => { view.blink = false; view.difference = !view.difference; },
  };
  const choose = (number) => {
    view.blink = view.difference = false;
    if (number === 0) view.shown = 0;
    else Object.assign(view, { other: number, shown: 1 });
    draw();
  };

  // The pair

  const pictures = find('.pictures');
  const load = () => {
    const pair = [files[0], files[view.other]].filter(Boolean);
    const wanted = pair.map((file) => file.address).join('\n');
    if (pictures.dataset.pair !== wanted) {
      pictures.dataset.pair = wanted;
      pictures.replaceChildren(...pair.map((file) => Object.assign(new Image(), { src: file.address, alt: file.path })));
    }
    place();
  };
  const place = () => {
    const stage = find('.stage').getBoundingClientRect();
    const pair = [files[0], files[view.other]].filter((file) => file?.width && file?.height);
    const proportions = pair.map((file) => file.width / file.height);
    const longest = Math.max(...pair.flatMap((file) => [file.width, file.height]));
    const larger = pair.reduce((a, b) => (b.width * b.height > a.width * a.height ? b : a), pair[0]);
    const alike = Math.max(...proportions) / Math.min(...proportions) <= SAME_PROPORTIONS;
    [...pictures.children].forEach((image, number) => {
      const file = alike ? larger : number ? files[view.other] : files[0];
      const [width, height] = file?.width && file?.height ? [file.width, file.height] : [1, 1];
      // Both at the same size, so that only the contents differ; never larger than the larger one's pixels.
      const scale = Math.min(stage.width / width, stage.height / height, (longest || 96) / Math.max(width, height));
      Object.assign(image.style, {
        width: `${width * scale}px`, height: `${height * scale}px`,
        left: `${(stage.width - width * scale) / 2}px`, top: `${(stage.height - height * scale) / 2}px`,
      });
    });
  };

  // Drawing

  const fileButton = (file) => {
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    const line = (name, text) => Object.assign(document.createElement('span'), { className: name, textContent: text });
    button.append(line('name', file.path), ...file.badges.map((text) => line('badge', text)), line('', file.facts));
    return button;
  };
  const draw = () => {
    load();
    const shown = current();
    pictures.classList.toggle('difference', view.difference);
    [...pictures.children].forEach((image, number) => {
      image.classList.toggle('visible', view.difference || number === view.shown);
    });
    [...find('.files').children].forEach((button, number) => {
      const visible = view.difference ? number === 0 || number === view.other : number === shown;
      button.setAttribute?.('aria-pressed', String(visible));
      if (number === shown) button.scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
    });
    for (const name of ['blink', 'difference']) find(`[data-view=${name}]`).setAttribute('aria-pressed', String(view[name]));
    find('.shown').textContent = !set ? ''
      : view.difference ? 'Black where both are equal; differences are four times as bright'
      : `${shown + 1}: ${files[shown].path}`;
  };

  find('.place').textContent = set ? `${data.kind} ${set.place}` : data.kind;
  find('.about').textContent = set ? set.facts : '';
  find('.freed').textContent = data.freed ? `This session: ${data.freed}` : '';
  find('.decided').textContent = data.decided ? `Decided: ${data.decided}` : '';
  find('.problem').textContent = data.problem ?? '';
  find('.none').textContent = set ? ''
    : data.skipped ? `${data.skipped} skipped, nothing else is left to decide here.` : `Nothing is left to decide here. ${data.left}`;
  find('.files').replaceChildren(...files.map(fileButton));
  if (set?.hidden) find('.files').append(Object.assign(document.createElement('p'), { textContent: set.hidden }));
  const enabled = {
    accept: set?.proposed > 0, all: set, only: set, skip: set, undo: data.decided, close: true,
    previous: set?.hasPrevious, next: set?.hasNext,
  };
  for (const [action, may] of Object.entries(enabled)) find(`[data-action=${action}]`).disabled = !may;
  for (const button of dialog.querySelectorAll('[data-view]')) button.disabled = files.length < 2;
  find('[data-action=accept]').hidden = Boolean(set) && !set.proposed;
  // A button that was pressed by a pointer leaves the focus, and with it the space bar, to the window.
  const onPress = (button, act) => { button.onclick = (event) => { if (event.detail) dialog.focus(); act(); }; };
  for (const button of dialog.querySelectorAll('[data-action]')) onPress(button, () => press(button.dataset.action));
  for (const button of dialog.querySelectorAll('[data-view]')) {
    onPress(button, () => { look[button.dataset.view](); draw(); });
  }
  [...find('.files').querySelectorAll('button')].forEach((button, number) => onPress(button, () => choose(number)));
  if (!dialog.open) {
    dialog.showModal();
    dialog.focus();
  }
  // A button that was just disabled, or replaced, would take the focus with it.
  if (!dialog.contains(parentElement.activeElement ?? document.activeElement)) dialog.focus();
  draw();
  for (const address of data.soon ?? []) new Image().src = address;

  // Keys, whatever has the focus; the page below gets none of them.

  const keys = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    event.stopPropagation();
    if (event.key === ' ' && event.composedPath()[0].matches?.('button')) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const steps = { ArrowUp: -1, ArrowDown: 1 };
    if (key in ACTION_OF && !event.repeat) press(ACTION_OF[key]);
    else if (key in VIEW_OF && files.length > 1) { look[VIEW_OF[key]](); draw(); }
    else if (key in steps && files.length > 1) {
      const number = Math.min(files.length - 1, Math.max(0, current() + steps[key]));
      choose(number);
    } else return;
    event.preventDefault();
  };
  window.addEventListener('keydown', keys, { signal, capture: true });
  dialog.addEventListener('cancel', (event) => { event.preventDefault(); press('close'); }, { signal });
  const resized = new ResizeObserver(place);
  resized.observe(find('.stage'));
  const timer = setInterval(() => { if (view.blink) { view.shown = 1 - view.shown; draw(); } }, BLINK_MS);
  dialog.leave = () => { controller.abort(); resized.disconnect(); clearInterval(timer); };
  return () => dialog.leave();
}
