/*
 * The second part of the page's program: the chosen edge over time, and how one moves in it.
 */

/* ---- the charts: one picture, panels with a common axis of time ---- */

const LEFT = 76, RIGHT = 30, MARKS = 18, BAND = 20, PANEL = 104, GAP = 30, AXIS = 26;
let plot = { width: 600 }; /* x of a time in it: see x() */
const x = ms => LEFT + (ms - view.from) / (view.until - view.from) * plot.width;
const timeAt = px => view.from + (px - LEFT) / plot.width * (view.until - view.from);
const clip = px => Math.min(Math.max(px, LEFT), LEFT + plot.width);

/* Indices of the points in view, and one more at each side, so that lines leave the picture. */
function pointsInView(column) {
  const first = Math.max(0, Math.floor(view.from / run.interval_ms) - 1);
  const last = Math.min(column.length - 1, Math.ceil(view.until / run.interval_ms) + 1);
  return [first, last];
}

/* The area between least and most, and a line along the most; a gap where it is unknown. */
function curve(least, most, y, color, area) {
  const [first, last] = pointsInView(most);
  const group = svg('g', { 'clip-path': 'url(#plot)' });
  for (let i = first; i <= last;) {
    if (most[i] === null) { i++; continue; }
    let top = '', bottom = '';
    for (; i <= last && most[i] !== null; i++) {
      const left = x(i * run.interval_ms).toFixed(1), right = x((i + 1) * run.interval_ms).toFixed(1);
      top += `${top ? 'L' : 'M'}${left} ${y(most[i]).toFixed(1)}H${right}`;
      bottom = `L${right} ${y(least[i]).toFixed(1)}H${left}` + bottom;
    }
    group.append(svg('path', { d: top + bottom + 'z', fill: `var(--${color})`, 'fill-opacity': area }),
      svg('path', { d: top, fill: 'none', stroke: `var(--${color})`, 'stroke-width': 1.6, 'stroke-linejoin': 'round' }));
  }
  return group;
}

/* A panel: its name and legend above, a grid, and a scale from `low` that fits what is in view. */
function panel(top, name, legend, columns, low, stepOf, write) {
  const [first, last] = pointsInView(columns[0]);
  const most = Math.max(...columns.flatMap(c => c.slice(first, last + 1)), low);
  const step = stepOf((most - low) / 3);
  const bottomValue = Math.floor(low / step) * step;
  const topValue = Math.max(Math.ceil(most / step) * step, bottomValue + step);
  const y = value => top + PANEL - (value - bottomValue) / (topValue - bottomValue) * PANEL;
  const group = svg('g', { class: 'panel', 'data-name': name, 'data-top': topValue, 'data-bottom': bottomValue });
  for (let v = bottomValue; v <= topValue + step / 2; v += step) {
    group.append(svg('line', { class: 'grid', x1: LEFT, x2: LEFT + plot.width, y1: y(v), y2: y(v) }),
      svg('text', { x: LEFT - 8, y: y(v) + 4, 'text-anchor': 'end' }, write(v)));
  }
  group.append(svg('text', { class: 'name', x: LEFT, y: top - 9 }, name));
  legend.forEach(([color, text], i) => {
    const at = LEFT + 130 + i * 150;
    group.append(svg('rect', { x: at, y: top - 18, width: 10, height: 10, rx: 2, fill: `var(--${color})` }),
      svg('text', { x: at + 16, y: top - 9 }, text));
  });
  return { group, y };
}

function drawCuts(into, edge, top, bottom) {
  for (const c of edge.cut_spans) {
    if (c.until_ms <= view.from || c.from_ms >= view.until) continue;
    const left = clip(x(c.from_ms)), right = clip(x(c.until_ms));
    into.append(svg('rect', { class: 'cut', x: left, y: top, width: Math.max(right - left, 1), height: bottom - top,
      'data-from': c.from_ms, 'data-until': c.until_ms },
    svg('title', {}, `${WAYS[c.way]}, ${moment(c.from_ms, 1)} to ${moment(c.until_ms, 1)}`)));
    for (const [ms, px] of [[c.from_ms, left], [c.until_ms, right]]) {
      if (ms >= view.from && ms <= view.until) {
        into.append(svg('line', { class: 'cut-edge', x1: px, x2: px, y1: top, y2: bottom }));
      }
    }
  }
}

/* A block of a band, with its text if there is room. */
function block(into, css, color, from, until, top, text, title) {
  if (until <= view.from || from >= view.until) return;
  const left = clip(x(from)), width = Math.max(clip(x(until)) - left, 1);
  into.append(svg('rect', { class: css, x: left, y: top, width, height: BAND, fill: `var(--${color})` },
    svg('title', {}, `${title}, ${moment(from, 1)} to ${moment(until, 1)}`)));
  if (width > text.length * 7 + 12) into.append(svg('text', { class: 'on-band', x: left + 6, y: top + 14 }, text));
}

function drawBands(into, edge, top) {
  const name = (y, text) => into.append(svg('text', { class: 'name', x: LEFT - 8, y, 'text-anchor': 'end' }, text));
  name(MARKS - 4, 'Events');
  name(top + 14, 'State');
  name(top + 14 + BAND + 3, 'Link');
  edge.states.forEach((s, i) =>
    block(into, 'state', s.state, s.from_ms, edge.states[i + 1]?.from_ms ?? end, top, s.state, s.state));
  into.append(svg('rect', { class: 'band', x: LEFT, y: top + BAND + 3, width: plot.width, height: BAND }));
  run.core.states.forEach((s, i) => {
    if (s.state !== 'not-running') return;
    block(into, 'state', s.state, s.from_ms, run.core.states[i + 1]?.from_ms ?? end, top + BAND + 3, CORE_GONE, CORE_GONE);
  });
  for (const c of edge.cut_spans) {
    block(into, 'link-cut', 'link-cut', c.from_ms, c.until_ms, top + BAND + 3,
      `${WAYS[c.way]}, ${span(c.until_ms - c.from_ms)}`, WAYS[c.way]);
  }
}

/* The core's events concern every edge. */
function eventsOf(edge) {
  const all = [...edge.events.map(e => ({ ...e, where: edge.name })),
    ...run.core.events.map(e => ({ ...e, where: 'core' }))];
  return all.sort((a, b) => a.at_ms - b.at_ms);
}
const inView = e => e.at_ms >= view.from && e.at_ms <= view.until;

function drawMarkers(into, edge, top) {
  for (const e of eventsOf(edge).filter(inView)) {
    const px = x(e.at_ms), y = top + MARKS / 2;
    into.append(svg('path', { class: 'marker k-' + e.kind, d: `M${px} ${y - 6}l5 6l-5 6l-5-6z` },
      svg('title', {}, `${moment(e.at_ms, 1)} ${e.where}: ${e.text}`)));
  }
}

function drawAxis(into, top, bottom) {
  const step = timeStep((view.until - view.from) / plot.width * 96);
  for (let t = Math.ceil(view.from / step) * step; t <= view.until; t += step) {
    into.append(svg('line', { class: 'grid', x1: x(t), x2: x(t), y1: top, y2: bottom }),
      svg('text', { class: 'tick', x: x(t), y: bottom + 18, 'text-anchor': 'middle' }, moment(t, step)));
  }
}

function drawCharts() {
  const edge = run.edges[view.edge], p = edge.points;
  const width = Math.max(byId('charts').clientWidth, 320);
  plot = { width: width - LEFT - RIGHT };
  const band = MARKS + 4, tops = [0, 1, 2].map(i => band + 2 * BAND + 3 + GAP + i * (PANEL + GAP));
  const bottom = tops[2] + PANEL, height = bottom + AXIS;
  const rate = column => column.map(n => n / run.interval_ms * 1e3);
  const rates = [rate(p.bytes_down), rate(p.bytes_up)], zero = p.bytes_down.map(() => 0);
  const picture = svg('svg', { width, height, role: 'img', 'aria-label': `${edge.name} over time: ` +
    `${edge.cuts} cuts, stale at most ${span(edge.staleness_max_ms)}` },
  svg('defs', {}, svg('clipPath', { id: 'plot' },
    svg('rect', { x: LEFT, y: 0, width: plot.width, height: bottom }))));
  drawAxis(picture, band, bottom);
  const seen = pointsInView(p.applied_min);
  const low = Math.min(...p.applied_min.slice(seen[0], seen[1] + 1));
  const batches = panel(tops[0], 'Batches', [['head', 'head of the core'], ['applied', 'applied']],
    [run.core.points.head_max, p.applied_max], low, numberStep, number);
  const stale = panel(tops[1], 'Staleness', [['stale', 'at most']], [p.staleness_max_ms], 0,
    ms => timeStep(Math.max(ms, 500)), span);
  const flow = panel(tops[2], 'Bytes a second', [['down', 'down'], ['up', 'up']], rates, 0, byteStep, bytes);
  drawCuts(picture, edge, band, bottom);
  batches.group.append(curve(run.core.points.head_min, run.core.points.head_max, batches.y, 'head', 0.3),
    curve(p.applied_min, p.applied_max, batches.y, 'applied', 0.3));
  stale.group.append(curve(p.staleness_min_ms, p.staleness_max_ms, stale.y, 'stale', 0.3));
  flow.group.append(curve(zero, rates[0], flow.y, 'down', 0.2), curve(zero, rates[1], flow.y, 'up', 0.2));
  picture.append(batches.group, stale.group, flow.group);
  drawBands(picture, edge, band);
  drawMarkers(picture, edge, 0);
  picture.append(svg('line', { class: 'cursor', id: 'cursor', y1: 0, y2: bottom, visibility: 'hidden' }),
    svg('rect', { class: 'brush', id: 'brush', y: band, height: bottom - band, visibility: 'hidden' }));
  byId('charts').replaceChildren(picture);
}

/* ---- readout and events ---- */

function showReadout() {
  const edge = run.edges[view.edge], p = edge.points;
  const at = Math.min(Math.max(view.cursor ?? view.until, 0), end);
  const i = Math.min(Math.floor(at / run.interval_ms), p.applied_max.length - 1);
  const head = run.core.points.head_max[Math.min(i, run.core.points.head_max.length - 1)];
  const cut = cutAt(edge, at), gone = stepAt(run.core.states, at).state === 'not-running';
  const second = n => bytes(n / run.interval_ms * 1e3) + '/s';
  const item = (name, value) => html('div', {}, html('dt', {}, name), html('dd', {}, value));
  byId('readout').replaceChildren(item('Time', moment(at, (view.until - view.from) / plot.width)),
    item('State', stepAt(edge.states, at).state), item('Link', cut ? WAYS[cut.way] : gone ? CORE_GONE : 'up'),
    item('Head', number(head)), item('Applied', number(p.applied_max[i])),
    item('Behind', number(Math.max(head - p.applied_max[i], 0))),
    item('Stale at most', p.staleness_max_ms[i] === null ? 'unknown' : span(p.staleness_max_ms[i])),
    item('Down', second(p.bytes_down[i])), item('Up', second(p.bytes_up[i])));
  const line = byId('cursor'), shown = view.cursor !== null && at >= view.from && at <= view.until;
  element(line, { x1: x(at), x2: x(at), visibility: shown ? 'visible' : 'hidden' });
}

function showEvents() {
  const edge = run.edges[view.edge], all = eventsOf(edge), shown = all.filter(inView);
  const omitted = edge.events_omitted + run.core.events_omitted;
  byId('events-title').textContent = `Events: ${number(shown.length)} of ${number(all.length)} are in this time` +
    (omitted ? `; ${number(omitted)} frequent ones were left out` : '');
  byId('event-rows').replaceChildren(...shown.map(e => html('tr', {}, html('td', { class: 'n' }, moment(e.at_ms, 1)),
    html('td', { class: 'kind k-' + e.kind }, e.kind), html('td', {}, e.where), html('td', {}, e.text))));
}

/* ---- the view ---- */

function show() {
  const edge = run.edges[view.edge];
  rows().forEach((row, i) => {
    row.classList.toggle('chosen', i === view.edge);
    const link = row.querySelector('a');
    link.tabIndex = i === view.edge ? 0 : -1;
    if (i === view.edge) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current');
  });
  byId('edge-name').textContent = edge.name;
  const whole = view.from === 0 && view.until === end, step = (view.until - view.from) / 100;
  byId('range').textContent = whole ? `the whole run, ${span(end)}` :
    `${moment(view.from, step)} to ${moment(view.until, step)} of ${span(end)}`;
  const time = whole ? '' : `t=${+(view.from / 1e3).toFixed(3)},${+(view.until / 1e3).toFixed(3)}&`;
  keepAddress('#' + time + 'edge=' + encodeURIComponent(edge.name));
  drawCharts();
  showReadout();
  showEvents();
}

/* Browsers refuse more than a few of these a second, and a wheel turns fast. */
let saving = 0;
function keepAddress(hash) {
  clearTimeout(saving);
  saving = setTimeout(() => history.replaceState(null, '', hash), 200);
}

function zoomTo(from, until) {
  const least = Math.min(Math.max(run.interval_ms * 4, 20), end);
  const length = Math.min(Math.max(until - from, least), end);
  view.from = Math.min(Math.max(from + (until - from - length) / 2, 0), end - length);
  view.until = view.from + length;
  show();
}
const zoomBy = (factor, around) =>
  zoomTo(around - (around - view.from) * factor, around + (view.until - around) * factor);
const centre = () => view.cursor ?? (view.from + view.until) / 2;

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const edge = run.edges.findIndex(e => e.name === asked.get('edge'));
  const [from, until] = (asked.get('t') || '').split(',').map(s => parseFloat(s) * 1e3);
  view.edge = edge >= 0 ? edge : view.edge;
  zoomTo(until > from ? from : 0, until > from ? until : end);
}

function listen() {
  const charts = byId('charts');
  const px = event => event.clientX - charts.getBoundingClientRect().left;
  let drag = null;
  charts.addEventListener('pointermove', event => {
    if (drag && drag.moves) {
      const by = (drag.px - px(event)) / plot.width * (drag.until - drag.from);
      zoomTo(drag.from + by, drag.until + by);
    } else if (drag) {
      const [a, b] = [clip(drag.px), clip(px(event))];
      element(byId('brush'), { x: Math.min(a, b), width: Math.abs(a - b), visibility: 'visible' });
    }
    view.cursor = timeAt(clip(px(event)));
    showReadout();
  });
  charts.addEventListener('pointerleave', () => { if (!drag) { view.cursor = null; showReadout(); } });
  charts.addEventListener('pointerdown', event => {
    if (event.button !== 0 || event.pointerType === 'touch') return;
    drag = { px: px(event), moves: event.shiftKey, from: view.from, until: view.until };
    charts.setPointerCapture(event.pointerId);
  });
  charts.addEventListener('pointerup', event => {
    const [a, b] = drag ? [clip(drag.px), clip(px(event))].sort((l, r) => l - r) : [0, 0];
    const moved = drag && drag.moves;
    drag = null;
    if (!moved && b - a > 4) zoomTo(timeAt(a), timeAt(b)); else element(byId('brush'), { visibility: 'hidden' });
  });
  charts.addEventListener('pointercancel', () => { drag = null; element(byId('brush'), { visibility: 'hidden' }); });
  charts.addEventListener('dblclick', () => zoomTo(0, end));
  charts.addEventListener('wheel', event => {
    if (event.ctrlKey) return; /* the browser's own zoom */
    event.preventDefault();
    zoomBy(Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY / 300))), timeAt(clip(px(event))));
  }, { passive: false });
  charts.addEventListener('keydown', event => {
    const length = view.until - view.from, way = event.key === 'ArrowLeft' ? -1 : 1;
    if (event.key === '+' || event.key === '=') zoomBy(0.5, centre());
    else if (event.key === '-') zoomBy(2, centre());
    else if (event.key === '0' || event.key === 'Home') zoomTo(0, end);
    else if (!event.key.startsWith('ArrowLeft') && !event.key.startsWith('ArrowRight')) return;
    else if (event.shiftKey) zoomTo(view.from + way * length / 8, view.until + way * length / 8);
    else {
      view.cursor = Math.min(Math.max(centre() + way * length / 100, view.from), view.until);
      showReadout();
    }
    event.preventDefault();
  });
  byId('zoom-in').addEventListener('click', () => zoomBy(0.5, centre()));
  byId('zoom-out').addEventListener('click', () => zoomBy(2, centre()));
  byId('reset').addEventListener('click', () => zoomTo(0, end));
  addEventListener('hashchange', readAddress);
  new ResizeObserver(() => { drawCharts(); showReadout(); }).observe(charts);
}

showHeader();
showTiles();
showExpectations();
showEdges();
if (run.edges.length > 0) {
  listen();
  readAddress();
} else {
  byId('detail').hidden = true; /* the scenario could not be read: the violation says why */
}
