// The map in the browser: points, thumbnails, moving and zooming, picking, lasso, legend.
//
// Points are written as pixels by the processor. A hundred thousand of them take a few milliseconds a frame on any
// machine; WebGL takes a quarter of a second a frame where there is no graphics card, as on a remote desktop.

const MAX_STORED = 400, MAX_FETCHES = 6;
const MAX_ZOOM = 4000, MIN_ZOOM = 0.5, FIT_MARGIN = 0.94;
const CLICK_PX = 5, PICK_PX = 14, HOVER_MS = 90, SETTLED_MS = 140;
// Until the page has its colours after the system's have changed.
const THEME_MS = 400;
// Fewer visible points than these are drawn as smooth circles.
const SMOOTH_POINTS = 3000;

const views = new WeakMap();
const place = (name) => `imgret-map-${name}`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const asNumber = (hex, alpha = 255) =>
  ((alpha << 24) | (parseInt(hex.slice(5, 7), 16) << 16) | (parseInt(hex.slice(3, 5), 16) << 8)
    | parseInt(hex.slice(1, 3), 16)) >>> 0;

function toBase64(rows) {
  const bytes = new Uint8Array(Uint32Array.from(rows).buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}

class MapView {
  constructor(root) {
    this.root = root;
    for (const name of ['stage', 'canvas', 'status', 'hint', 'legend', 'shown'])
      this[name] = root.querySelector(`.${name}`);
    this.context = this.canvas.getContext('2d');
    this.buttons = Object.fromEntries(
      [...root.querySelectorAll('button[name]')].map((button) => [button.name, button]));
    this.centre = [0.5, 0.5];
    this.zoom = 1;
    this.count = 0;
    this.selected = -1;
    this.lasso = null;
    this.pointers = new Map();
    this.highlighted = new Set();
    this.thumbnails = new Map();
    this.fetches = new Map();
    this.placed = [];
    this.listen();
    this.resizing = new ResizeObserver(() => {
      if (!this.canvas.isConnected) this.resizing.disconnect();
      else this.resize();
    });
    this.resizing.observe(this.stage);
    const theme = matchMedia('(prefers-color-scheme: dark)');
    const follow = () => {
      if (!this.canvas.isConnected) theme.removeEventListener('change', follow);
      else setTimeout(() => { this.recolour(); this.showLegend(); }, THEME_MS);
    };
    theme.addEventListener('change', follow);
  }

  // What Python says ------------------------------------------------------------------------------------------------

  update(data, setTriggerValue) {
    this.send = (name, value) => setTriggerValue(name, { ...value, version: this.version, at: Date.now() });
    const isNew = data.version !== this.version;
    const isRecoloured = data.colouring.name !== this.data?.colouring.name;
    this.data = data;
    if (isNew) this.load(data);
    else if (data.selected !== this.sentSelected) this.select(data.selected, true);
    this.sentSelected = data.selected;
    if (isRecoloured) this.highlighted.clear();
    this.canvas.setAttribute('aria-label', data.label);
    this.recolour();
    this.showLegend();
  }

  async load(data) {
    this.version = data.version;
    this.count = 0;
    this.thumbnails.clear();
    this.placed = [];
    this.selected = data.selected;
    this.say('Loading the map …');
    try {
      const answer = await fetch(new URL(`${data.url}/points/${data.version}`, location.href));
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const bytes = await answer.arrayBuffer();
      if (this.version !== data.version) return;
      const count = data.count;
      this.x = new Float32Array(bytes, 0, count);
      this.y = new Float32Array(bytes, 4 * count, count);
      this.codes = data.codes.map((name, place) => new Uint16Array(bytes, 8 * count + 2 * count * place, count));
      this.count = count;
    } catch (error) {
      this.say(`The map could not be loaded (${error.message}). What to do: reload this page.`);
      return;
    }
    this.recolour();
    this.restore();
    this.canvas.dataset.loaded = data.version;
  }

  // The view survives a visit to another page.
  restore() {
    const stored = JSON.parse(sessionStorage.getItem(place(this.version)) ?? 'null');
    if (stored) [this.centre, this.zoom] = [stored.centre, stored.zoom];
    else this.fit();
    this.resize();
    if (this.selected >= 0 && !this.isInside(this.selected)) this.select(this.selected, true);
  }

  select(row, moves) {
    this.selected = row;
    if (moves && row >= 0 && this.count) {
      this.centre = [this.x[row], this.y[row]];
      this.zoom = Math.max(this.zoom, clamp(Math.sqrt(this.count / 400), 1, 200));
    }
    this.draw();
  }

  // Colours ---------------------------------------------------------------------------------------------------------

  recolour() {
    const style = getComputedStyle(this.stage);
    const ground = style.getPropertyValue('--st-background-color').trim() || '#ffffff';
    const [red, green, blue] = [1, 3, 5].map((i) => parseInt(ground.slice(i, i + 2), 16));
    const isDark = 0.3 * red + 0.6 * green + 0.1 * blue < 128;
    this.theme = {
      palette: this.data.palettes[isDark ? 'dark' : 'light'],
      neutral: isDark ? '#8b919b' : '#7d838c',
      ring: isDark ? '#ffffff' : '#000000',
      ground,
    };
    if (!this.count) return;
    const codes = this.codes[this.data.codes.indexOf(this.data.colouring.name)];
    const faint = asNumber(this.theme.neutral, 70);
    this.current = codes;
    this.colour = new Uint32Array(this.count);
    this.order = new Uint32Array(this.count);
    // What is not coloured lies below what is, and what is highlighted on top.
    const layers = [[], [], []];
    for (let row = 0; row < this.count; row++) {
      const code = codes[row];
      const isFaint = this.highlighted.size && !this.highlighted.has(code);
      this.colour[row] = isFaint ? faint : asNumber(this.colourOf(code));
      layers[isFaint ? 0 : code === 0 ? 1 : 2].push(row);
    }
    let next = 0;
    for (const layer of layers) for (const row of layer) this.order[next++] = row;
    this.draw();
  }

  colourOf(code) {
    const { palette, neutral } = this.theme;
    return code === 0 ? neutral : palette[(code - 1) % palette.length];
  }

  showLegend() {
    const { entries, more } = this.data.colouring;
    this.legend.replaceChildren(...entries.map(({ code, label, count }) => {
      const button = document.createElement('button');
      const swatch = document.createElement('i');
      swatch.style.background = this.colourOf(code);
      button.append(swatch, `${label} (${count.toLocaleString('en')})`);
      button.type = 'button';
      button.setAttribute('aria-pressed', this.highlighted.has(code));
      button.title = 'Show only these in colour';
      button.onclick = () => {
        if (!this.highlighted.delete(code)) this.highlighted.add(code);
        this.recolour();
        this.showLegend();
        [...this.legend.querySelectorAll('button')][entries.findIndex((entry) => entry.code === code)].focus();
      };
      return button;
    }));
    if (more) this.legend.append(Object.assign(document.createElement('span'), { textContent: more }));
  }

  // Geometry --------------------------------------------------------------------------------------------------------

  resize() {
    const { width, height } = this.stage.getBoundingClientRect();
    if (!width || !height) return;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.width = width;
    this.height = height;
    const [across, down] = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    if (this.canvas.width !== across || this.canvas.height !== down || !this.image) {
      this.canvas.width = across;
      this.canvas.height = down;
      this.image = this.context.createImageData(across, down);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.draw();
  }

  // CSS pixels of the map's unit square.
  get scale() { return Math.min(this.width, this.height) * FIT_MARGIN * this.zoom; }

  at(row) {
    return [this.width / 2 + (this.x[row] - this.centre[0]) * this.scale,
      this.height / 2 + (this.y[row] - this.centre[1]) * this.scale];
  }

  isInside(row) {
    const [x, y] = this.at(row);
    return x >= 0 && y >= 0 && x <= this.width && y <= this.height;
  }

  fit() { [this.centre, this.zoom] = [[0.5, 0.5], 1]; }

  move(x, y) {
    this.centre = [clamp(this.centre[0] - x / this.scale, -0.1, 1.1), clamp(this.centre[1] - y / this.scale, -0.1, 1.1)];
    this.draw();
  }

  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const before = this.scale;
    this.zoom = clamp(this.zoom * factor, MIN_ZOOM, MAX_ZOOM);
    const shift = 1 / before - 1 / this.scale;
    this.centre[0] += (x - this.width / 2) * shift;
    this.centre[1] += (y - this.height / 2) * shift;
    this.move(0, 0);
  }

  get radius() {
    const base = clamp(0.2 * Math.sqrt((this.width * this.height) / Math.max(this.count, 1)), 1.2, 5);
    return clamp(base * Math.max(this.zoom, 1) ** 0.4, 1.2, 7);
  }

  // The row at a place in CSS pixels, or near it; -1 where there is none.
  nearest(x, y, within) {
    for (const { row, left, top, width, height } of [...this.placed].reverse())
      if (x >= left && y >= top && x <= left + width && y <= top + height) return row;
    const scale = this.scale;
    const [px, py] = [this.centre[0] + (x - this.width / 2) / scale, this.centre[1] + (y - this.height / 2) / scale];
    let best = -1, least = (within / scale) ** 2;
    for (let row = 0; row < this.count; row++) {
      const distance = (this.x[row] - px) ** 2 + (this.y[row] - py) ** 2;
      if (distance <= least) [best, least] = [row, distance];
    }
    return best;
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  draw() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.paint(); });
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settle(), SETTLED_MS);
  }

  paint() {
    if (!this.count || !this.image || !this.canvas.isConnected) return;
    const started = performance.now();
    const { width, height } = this.canvas;
    const scale = this.scale * this.ratio;
    const [left, top] = [width / 2 - this.centre[0] * scale, height / 2 - this.centre[1] * scale];
    if (this.visible?.length !== this.count) this.visible = new Uint32Array(this.count);
    const { count, order, visible, x, y } = this;
    let seen = 0;
    for (let i = 0; i < count; i++) {
      const row = order[i];
      const px = x[row] * scale + left, py = y[row] * scale + top;
      if (px >= 0 && py >= 0 && px < width && py < height) visible[seen++] = row;
    }
    this.seen = seen;
    if (seen > SMOOTH_POINTS) this.paintPixels(scale, left, top);
    else this.paintCircles(scale, left, top);
    this.paintThumbnails();
    this.paintMarks();
    this.canvas.dataset.paintMs = (performance.now() - started).toFixed(2);
  }

  paintPixels(scale, left, top) {
    const { width, height } = this.canvas;
    const { pixels, visible, x, y, colour, seen } = this;
    pixels.fill(0);
    const radius = this.radius * this.ratio, rows = [];
    for (let dy = -Math.ceil(radius); dy <= radius; dy++)
      if (radius * radius >= dy * dy) rows.push([dy, Math.floor(Math.sqrt(radius * radius - dy * dy))]);
    const [offsets, halves] = [Int32Array.from(rows, (row) => row[0]), Int32Array.from(rows, (row) => row[1])];
    const edge = Math.ceil(radius) + 1, lines = offsets.length;
    for (let i = 0; i < seen; i++) {
      const row = visible[i], number = colour[row];
      const px = (x[row] * scale + left) | 0, py = (y[row] * scale + top) | 0;
      if (px < edge || py < edge || px >= width - edge || py >= height - edge) continue;
      for (let j = 0; j < lines; j++) {
        const middle = (py + offsets[j]) * width + px, half = halves[j];
        for (let pixel = middle - half; pixel <= middle + half; pixel++) pixels[pixel] = number;
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }

  paintCircles(scale, left, top) {
    const { context, canvas, ratio } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    const radius = this.radius * ratio;
    for (let i = 0; i < this.seen; i++) {
      const row = this.visible[i], number = this.colour[row];
      context.fillStyle = `rgba(${number & 255},${(number >> 8) & 255},${(number >> 16) & 255},${(number >>> 24) / 255})`;
      context.beginPath();
      context.arc(this.x[row] * scale + left, this.y[row] * scale + top, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }

  get showsThumbnails() {
    return this.buttons.images.getAttribute('aria-pressed') === 'true' && this.seen <= this.data.thumbnailsFrom;
  }

  // Thumbnails that do not cover one another, those of the last frame first so that they stay.
  placeThumbnails() {
    if (!this.showsThumbnails) return [];
    const size = this.seen > 200 ? 48 : this.seen > 40 ? 72 : 96;
    const cells = new Map(), placed = [];
    const rows = [...(this.selected >= 0 ? [this.selected] : []), ...this.placed.map(({ row }) => row),
      ...this.visible.subarray(0, this.seen)];
    const done = new Set();
    for (const row of rows) {
      if (placed.length >= this.data.maxThumbnails) break;
      if (done.has(row) || !this.isInside(row)) continue;
      done.add(row);
      const [x, y] = this.at(row);
      const [column, line] = [Math.floor(x / size), Math.floor(y / size)];
      let isFree = true;
      for (let dx = -1; dx <= 1 && isFree; dx++)
        for (let dy = -1; dy <= 1 && isFree; dy++) {
          const other = cells.get(`${column + dx},${line + dy}`);
          isFree = !other || Math.abs(other[0] - x) >= size || Math.abs(other[1] - y) >= size;
        }
      if (!isFree) continue;
      cells.set(`${column},${line}`, [x, y]);
      placed.push({ row, x, y, size: size - 6 });
    }
    return placed;
  }

  paintThumbnails() {
    const { context, ratio } = this;
    this.wanted = this.placeThumbnails();
    this.placed = [];
    for (const { row, x, y, size } of this.wanted) {
      const thumbnail = this.thumbnails.get(row);
      if (!thumbnail?.bitmap) continue;
      const shrink = size / Math.max(thumbnail.bitmap.width, thumbnail.bitmap.height);
      const [width, height] = [thumbnail.bitmap.width * shrink, thumbnail.bitmap.height * shrink];
      const spot = { row, left: x - width / 2, top: y - height / 2, width, height };
      const isFaint = this.highlighted.size && !this.highlighted.has(this.current[row]);
      context.globalAlpha = isFaint ? 0.35 : 1;
      context.fillStyle = this.colourOf(this.current[row]);
      const frame = 3;
      context.fillRect((spot.left - frame) * ratio, (spot.top - frame) * ratio, (width + 2 * frame) * ratio,
        (height + 2 * frame) * ratio);
      context.drawImage(thumbnail.bitmap, spot.left * ratio, spot.top * ratio, width * ratio, height * ratio);
      context.globalAlpha = 1;
      this.placed.push(spot);
    }
    if (this.placed.length < this.wanted.length) this.placed = this.orderedSpots();
  }

  // Rows that wait for their thumbnail keep their turn in the next frame.
  orderedSpots() {
    const shown = new Map(this.placed.map((spot) => [spot.row, spot]));
    return this.wanted.map(({ row, x, y }) => shown.get(row) ?? { row, left: x, top: y, width: 0, height: 0 });
  }

  paintMarks() {
    const { context, ratio } = this;
    const ring = (row, colour, dashes) => {
      const spot = this.placed.find((each) => each.row === row && each.width);
      const [x, y] = this.at(row);
      context.setLineDash(dashes.map((dash) => dash * ratio));
      for (const [stroke, width] of [[this.theme.ground, 6], [colour, 3]]) {
        context.strokeStyle = stroke;
        context.lineWidth = width * ratio;
        context.beginPath();
        if (spot)
          context.rect((spot.left - 5) * ratio, (spot.top - 5) * ratio, (spot.width + 10) * ratio,
            (spot.height + 10) * ratio);
        else context.arc(x * ratio, y * ratio, (this.radius + 6) * ratio, 0, 2 * Math.PI);
        context.stroke();
      }
      context.setLineDash([]);
    };
    if (this.selected >= 0 && this.selected < this.count) ring(this.selected, this.theme.ring, []);
    const middle = this.byKeys ? this.middle() : -1;
    if (middle >= 0 && middle !== this.selected) ring(middle, this.theme.ring, [4, 3]);
    if (!this.lasso) return;
    context.strokeStyle = this.theme.ring;
    context.lineWidth = 2 * ratio;
    context.setLineDash([6 * ratio, 4 * ratio]);
    context.beginPath();
    for (const [x, y] of this.lasso) context.lineTo(x * ratio, y * ratio);
    context.closePath();
    context.stroke();
    context.setLineDash([]);
  }

  middle() { return this.nearest(this.width / 2, this.height / 2, Infinity); }

  // After a movement -------------------------------------------------------------------------------------------------

  settle() {
    if (!this.count || !this.canvas.isConnected) return;
    sessionStorage.setItem(place(this.version), JSON.stringify({ centre: this.centre, zoom: this.zoom }));
    this.fetchNext();
    this.describe();
  }

  async describe() {
    const inView = `${this.seen.toLocaleString('en')} of ${this.count.toLocaleString('en')} images in view`;
    if (!this.byKeys) return this.say(inView);
    const middle = this.middle();
    const thumbnail = await this.fetchThumbnail(middle);
    return this.say(`${inView} · nearest to the middle: ${thumbnail?.path ?? '…'} (Enter selects it)`);
  }

  say(text) { if (this.status.textContent !== text) this.status.textContent = text; }

  fetchNext() {
    for (const { row } of this.wanted ?? []) {
      if (this.fetches.size >= MAX_FETCHES) return;
      if (!this.thumbnails.has(row) && !this.fetches.has(row))
        this.fetchThumbnail(row).then(() => { this.paintSoon(); this.fetchNext(); });
    }
  }

  paintSoon() { this.frame ??= requestAnimationFrame(() => { this.frame = null; this.paint(); }); }

  fetchThumbnail(row) {
    if (this.thumbnails.has(row)) return Promise.resolve(this.thumbnails.get(row));
    if (!this.fetches.has(row))
      this.fetches.set(row, this.loadThumbnail(row).finally(() => this.fetches.delete(row)));
    return this.fetches.get(row);
  }

  async loadThumbnail(row) {
    const { version } = this;
    const thumbnail = { bitmap: null, path: '' };
    try {
      const answer = await fetch(new URL(`${this.data.url}/thumbnail/${version}/${row}`, location.href));
      if (answer.ok) {
        thumbnail.path = decodeURIComponent(answer.headers.get('imgret-path') ?? '');
        thumbnail.bitmap = await createImageBitmap(await answer.blob());
      }
    } catch { /* A thumbnail that can't be loaded stays a point. */ }
    if (version !== this.version) return thumbnail;
    this.thumbnails.set(row, thumbnail);
    const shown = new Set((this.wanted ?? []).map((each) => each.row));
    for (const old of this.thumbnails.keys()) {
      if (this.thumbnails.size <= MAX_STORED) break;
      if (!shown.has(old)) this.thumbnails.delete(old);
    }
    return thumbnail;
  }

  // Hints ------------------------------------------------------------------------------------------------------------

  hover(x, y) {
    clearTimeout(this.hovering);
    this.hovering = setTimeout(async () => {
      const row = this.nearest(x, y, PICK_PX);
      if (row < 0) return this.hideHint();
      const thumbnail = await this.fetchThumbnail(row);
      if (this.pointers.size || !thumbnail.path) return undefined;
      const picture = this.hint.querySelector('canvas');
      const { bitmap } = thumbnail;
      if (bitmap) {
        [picture.width, picture.height] = [bitmap.width, bitmap.height];
        picture.getContext('2d').drawImage(bitmap, 0, 0);
      }
      picture.hidden = !bitmap;
      this.hint.querySelector('span').textContent = thumbnail.path;
      this.hint.hidden = false;
      const { width, height } = this.hint.getBoundingClientRect();
      this.hint.style.left = `${clamp(x + 14, 4, Math.max(4, this.width - width - 4))}px`;
      this.hint.style.top = `${y + height + 18 > this.height ? Math.max(4, y - height - 12) : y + 14}px`;
      return undefined;
    }, HOVER_MS);
  }

  hideHint() {
    clearTimeout(this.hovering);
    this.hint.hidden = true;
  }

  // Input ------------------------------------------------------------------------------------------------------------

  get isLassoMode() { return this.buttons.lasso.getAttribute('aria-pressed') === 'true'; }

  toggle(name) {
    const button = this.buttons[name];
    button.setAttribute('aria-pressed', button.getAttribute('aria-pressed') !== 'true');
    this.canvas.classList.toggle('lassoing', this.isLassoMode);
    this.draw();
  }

  listen() {
    const { canvas, buttons } = this;
    buttons.closer.onclick = () => this.zoomBy(1.6);
    buttons.farther.onclick = () => this.zoomBy(1 / 1.6);
    buttons.all.onclick = () => { this.fit(); this.draw(); };
    buttons.lasso.onclick = () => this.toggle('lasso');
    buttons.images.onclick = () => this.toggle('images');
    buttons.visible.onclick = () => this.count && this.choose(this.visible.slice(0, this.seen));
    canvas.onwheel = (event) => {
      event.preventDefault();
      const [x, y] = this.place(event);
      this.hideHint();
      this.zoomBy(Math.exp(-clamp(event.deltaY * (event.deltaMode ? 20 : 1), -240, 240) / 400), x, y);
    };
    canvas.onpointerdown = (event) => this.press(event);
    canvas.onpointermove = (event) => this.drag(event);
    canvas.onpointerup = (event) => this.release(event);
    canvas.onpointercancel = (event) => { this.pointers.delete(event.pointerId); this.lasso = null; this.draw(); };
    canvas.onpointerleave = () => this.hideHint();
    canvas.onkeydown = (event) => this.key(event);
    canvas.onblur = () => { this.byKeys = false; this.draw(); };
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button) return;
    this.hideHint();
    this.byKeys = false;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.pointers.set(event.pointerId, at);
    this.pressed = this.pointers.size === 1 ? { at, moved: false } : null;
    this.lasso = this.pressed && (this.isLassoMode || event.shiftKey) ? [at] : null;
  }

  drag(event) {
    const at = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === 'mouse') this.hover(...at);
      return;
    }
    if (this.pressed && Math.hypot(at[0] - this.pressed.at[0], at[1] - this.pressed.at[1]) > CLICK_PX)
      this.pressed.moved = true;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, at);
    if (this.lasso) {
      this.lasso.push(at);
      this.draw();
    } else if (other) {
      // Two fingers: the map follows their middle, and their distance zooms.
      const distance = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
      this.move((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
      this.zoomBy(distance(at) / distance(before), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
    } else if (!this.pressed || this.pressed.moved) this.move(at[0] - before[0], at[1] - before[1]);
  }

  release(event) {
    const { pressed, lasso } = this;
    if (!this.pointers.delete(event.pointerId)) return;
    [this.pressed, this.lasso] = [null, null];
    if (lasso && pressed?.moved) this.choose(this.inside(lasso));
    else if (pressed && !pressed.moved) {
      const row = this.nearest(...pressed.at, event.pointerType === 'mouse' ? PICK_PX : 2 * PICK_PX);
      if (row >= 0) this.pick(row);
    }
    this.draw();
  }

  pick(row) {
    this.select(row, false);
    this.sentSelected = row;
    this.send('pick', { row });
  }

  choose(rows) {
    this.say(`${rows.length.toLocaleString('en')} images selected, see the list below`);
    this.send('lasso', { rows: toBase64(rows) });
  }

  // Rows inside a polygon of CSS pixels, by counting the edges to the right.
  inside(polygon) {
    const rows = [];
    const corners = polygon.map(([x, y]) => [this.centre[0] + (x - this.width / 2) / this.scale,
      this.centre[1] + (y - this.height / 2) / this.scale]);
    const xs = corners.map(([x]) => x), ys = corners.map(([, y]) => y);
    const [left, right] = [Math.min(...xs), Math.max(...xs)], [top, bottom] = [Math.min(...ys), Math.max(...ys)];
    for (let row = 0; row < this.count; row++) {
      const px = this.x[row], py = this.y[row];
      if (px < left || px > right || py < top || py > bottom) continue;
      let isInside = false;
      for (let i = 0, j = corners.length - 1; i < corners.length; j = i++)
        if ((ys[i] > py) !== (ys[j] > py) && px < ((xs[j] - xs[i]) * (py - ys[i])) / (ys[j] - ys[i]) + xs[i])
          isInside = !isInside;
      if (isInside) rows.push(row);
    }
    return rows;
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = 0.15 * Math.min(this.width, this.height);
    const actions = {
      ArrowLeft: () => this.move(step, 0),
      ArrowRight: () => this.move(-step, 0),
      ArrowUp: () => this.move(0, step),
      ArrowDown: () => this.move(0, -step),
      '+': () => this.zoomBy(1.4),
      '=': () => this.zoomBy(1.4),
      '-': () => this.zoomBy(1 / 1.4),
      0: () => { this.fit(); this.draw(); },
      Enter: () => { if (this.count) this.pick(this.middle()); },
      Escape: () => { this.lasso = null; this.pressed = null; this.draw(); },
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    this.byKeys = true;
    this.hideHint();
    actions[event.key]();
  }
}

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.map');
  if (!views.has(root)) views.set(root, new MapView(root));
  views.get(root).update(data, setTriggerValue);
}
