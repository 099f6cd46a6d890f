/*
 * The program of the page: shows the run (the JSON in #run, fields in sim/README.md) and lets one
 * choose an edge and a time. No library, no network; texts of the run are only ever set as text.
 *
 * What is shown follows from `view` alone: edge, and the range of time in milliseconds. Whoever
 * changes it calls show(), which draws and keeps the address (#t=FROM,UNTIL&edge=NAME, in seconds).
 */
'use strict';

const run = JSON.parse(document.getElementById('run').textContent);
const end = Math.max(run.duration_ms, 1);
const view = { edge: 0, from: 0, until: end, cursor: null };
const SVG = 'http://www.w3.org/2000/svg';
const byId = id => document.getElementById(id);

/* ---- elements and numbers ---- */

function element(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...(children || []));
  return node;
}
const html = (tag, attributes, ...children) => element(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => element(document.createElementNS(SVG, tag), attributes, children);

const number = n => n.toLocaleString('en');

const oneDigit = n => n.toFixed(1).replace(/\.0$/, '');

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  for (; n >= 1024 && u + 1 < units.length; u++) n /= 1024;
  return (u === 0 ? Math.round(n) : oneDigit(n)) + ' ' + units[u];
}

/* How long something took. */
function span(ms) {
  if (ms === null) return '–';
  if (ms < 1000) return Math.round(ms) + ' ms';
  if (ms < 120e3) return oneDigit(ms / 1e3) + ' s';
  if (ms < 7200e3) return oneDigit(ms / 60e3) + ' min';
  return ms < 172800e3 ? oneDigit(ms / 3600e3) + ' h' : oneDigit(ms / 86400e3) + ' d';
}

/* A moment of the run, as exact as `step` between two such moments needs. */
function moment(ms, step) {
  const digits = step < 10 ? 3 : step < 100 ? 2 : step < 1000 ? 1 : 0;
  if (end <= 120e3) return (ms / 1e3).toFixed(digits) + ' s';
  const unit = 10 ** (3 - digits);
  const whole = Math.round(ms / unit) * unit;
  const two = n => String(n).padStart(2, '0');
  const seconds = (whole / 1e3 % 60).toFixed(digits).padStart(digits === 0 ? 2 : digits + 3, '0');
  const minutes = two(Math.floor(whole / 60e3) % 60);
  const hours = Math.floor(whole / 3600e3);
  if (end <= 7200e3) return Math.floor(whole / 60e3) + ':' + seconds;
  const clock = (hours >= 24 || end > 172800e3 ? two(hours % 24) : hours) + ':' + minutes;
  const days = end > 172800e3 ? Math.floor(hours / 24) + 'd ' : '';
  return days + clock + (step < 60e3 ? ':' + seconds : '');
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3,
  1800e3, 3600e3, 7200e3, 10800e3, 21600e3, 43200e3, 86400e3, 172800e3, 432000e3, 864000e3, 2592000e3];
const timeStep = least => STEPS.find(s => s >= least) || STEPS[STEPS.length - 1] * Math.ceil(least / 2592000e3);

/* Steps of a scale, the next round one that is not less: of numbers and of bytes. */
function numberStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map(m => m * power).find(s => s >= least);
}
const byteStep = least => 2 ** Math.ceil(Math.log2(Math.max(least, 1)));

const plansOf = e => Object.entries(e.plans).filter(p => p[1] > 0).map(p => p.join(' ')).join(', ') || '–';
const CORE_GONE = 'core not running';
const WAYS = { both: 'cut', down: 'cut, core to edge', up: 'cut, edge to core' };

/* The value of a list of steps {from_ms, ...} at a time. */
function stepAt(steps, ms) {
  let low = 0;
  for (let high = steps.length; high - low > 1;) {
    const middle = (low + high) >> 1;
    if (steps[middle].from_ms <= ms) low = middle; else high = middle;
  }
  return steps[low];
}
const cutAt = (edge, ms) => edge.cut_spans.find(c => c.from_ms <= ms && ms < c.until_ms);

/* ---- what does not change: verdict, figures, expectations ---- */

function showHeader() {
  byId('title').textContent = run.title;
  document.title = run.title + ' – holdfast report';
  byId('about').textContent = `${run.world} world, ${run.world === 'virtual' ? `seed ${run.seed}, ` : ''}` +
    `holdfast ${run.version}, ` +
    `${span(run.duration_ms)}, ${number(run.batches)} batches, ${number(run.edges.length)} edges`;
  byId('verdict').textContent = run.ok ? '✓ all held' : '✗ failed';
  byId('verdict').className = run.ok ? 'passed' : 'failed';
  byId('violation').textContent = run.violation;
  byId('violation').hidden = run.violation === '';
}

function showTiles() {
  const sum = key => run.edges.reduce((n, e) => n + e[key], 0);
  const most = key => run.edges.reduce((a, e) => (e[key] ?? -1) > (a?.[key] ?? -1) ? e : a, null);
  const meant = run.edges.filter(e => e.state !== 'revoked');
  const at = meant.filter(e => e.applied >= e.head && e.state !== 'not-running');
  const stale = most('staleness_max_ms');
  const slow = most('recovery_max_ms');
  const tile = (name, value, note) =>
    byId('tiles').append(html('div', {}, html('dt', {}, name), html('dd', {}, value, ' ', html('small', {}, note))));
  tile('Edges at the head', `${at.length} of ${meant.length}`,
    meant.length < run.edges.length ? `${run.edges.length - meant.length} revoked` : '');
  tile('Cuts', number(sum('cuts')), sum('cuts') ? span(sum('cut_ms')) + ' in all' : '');
  tile('Stale at most', span(stale?.staleness_max_ms ?? null), stale?.name ?? '');
  tile('Slowest to catch up', span(slow?.recovery_max_ms ?? null), slow?.name ?? '');
  tile('Bytes down', bytes(sum('bytes_down')), '');
  tile('Bytes up', bytes(sum('bytes_up')), '');
  tile('Restarts', number(sum('restarts') + run.core.restarts), run.core.restarts ? 'with the core' : '');
}

function showExpectations() {
  byId('expectations').hidden = run.expectations.length === 0;
  const measured = run.expectations.some(e => e.measured !== '');
  byId('measured').hidden = !measured;
  for (const e of run.expectations) {
    byId('expectation-rows').append(html('tr', {},
      html('td', { class: e.held ? 'ok' : 'no' }, e.held ? '✓ ok' : '✗ FAILED'),
      html('td', {}, e.text), ...(measured ? [html('td', {}, e.measured)] : [])));
  }
}

/* ---- the edges ---- */

const HEAT = [3e3, 10e3, 60e3, 600e3, 3600e3]; /* a live edge says at most 3 s */
const heatOf = ms => HEAT.filter(limit => ms > limit).length;
const STRIP = 600; /* bins of a strip */

/* One path a colour: 200 strips are then a thousand elements and not a hundred thousand. */
function strip(edge) {
  const stale = edge.points.staleness_max_ms;
  const paths = new Map();
  const box = (kind, from, until, y, height) => paths.set(kind, (paths.get(kind) || '') +
    `M${from} ${y}h${Math.max(until - from, 1)}v${height}h-${Math.max(until - from, 1)}z`);
  let from = 0;
  let kind = null;
  for (let bin = 0; bin <= STRIP; bin++) {
    const first = Math.floor(bin / STRIP * end / run.interval_ms);
    const last = Math.max(first + 1, Math.floor((bin + 1) / STRIP * end / run.interval_ms));
    const known = bin < STRIP ? stale.slice(first, last).filter(s => s !== null) : [];
    const next = known.length ? 'heat-' + heatOf(Math.max(...known)) : null;
    if (next !== kind || bin === STRIP) {
      if (kind) box(kind, from, bin, 0, 12);
      from = bin;
      kind = next;
    }
  }
  const x = ms => Math.round(ms / end * STRIP);
  edge.states.forEach((s, i) => {
    if (s.state === 'not-running') box('not-running', x(s.from_ms), x(edge.states[i + 1]?.from_ms ?? end), 0, 12);
  });
  for (const c of edge.cut_spans) box('cut', x(c.from_ms), x(c.until_ms), 14, 4);
  const label = `${edge.name}: cut ${edge.cuts} times for ${span(edge.cut_ms)}, ` +
    `stale at most ${span(edge.staleness_max_ms)}`;
  const picture = svg('svg', { class: 'strip', viewBox: `0 0 ${STRIP} 18`, preserveAspectRatio: 'none', role: 'img',
    'aria-label': label });
  for (const [name, d] of paths) picture.append(svg('path', { d, style: `fill: var(--${name})` }));
  return picture;
}

function showEdges() {
  const legend = (color, text) => byId('heat-legend').append(html('span', {},
    html('i', { style: `background: var(--${color})` }), text));
  ['3 s', '10 s', '1 min', '10 min', '1 h', 'more'].forEach((t, i) => legend('heat-' + i, i < 5 ? '≤ ' + t : t));
  legend('unknown', 'unknown');
  legend('not-running', 'not running');
  legend('cut', 'link cut');
  run.edges.forEach((e, i) => {
    const link = html('a', { href: '#' }, e.name);
    const caught = e.recovering ? 'not yet' : span(e.recovery_max_ms);
    const row = html('tr', { 'data-edge': i }, html('td', { title: e.name }, link), html('td', {}, strip(e)),
      html('td', {}, e.state),
      html('td', { class: e.applied < e.head ? 'n no' : 'n' }, `${number(e.applied)} / ${number(e.head)}`),
      html('td', { class: 'n' }, e.cuts ? `${number(e.cuts)}, ${span(e.cut_ms)}` : '0'),
      html('td', { class: 'n' }, span(e.staleness_max_ms)),
      html('td', { class: e.recovering ? 'n no' : 'n' }, caught),
      html('td', { class: 'n' }, bytes(e.bytes_down)), html('td', { class: 'n' }, bytes(e.bytes_up)),
      html('td', {}, plansOf(e)), html('td', { class: 'n' }, number(e.restarts)));
    row.addEventListener('click', event => { event.preventDefault(); choose(i); });
    byId('edge-rows').append(row);
  });
}

function choose(i) {
  view.edge = i;
  view.cursor = null;
  show();
}

const rows = () => [...byId('edge-rows').children];

byId('edge-rows').addEventListener('keydown', event => {
  const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const shown = rows().filter(row => !row.hidden);
  const at = shown.indexOf(event.target.closest('tr'));
  const next = move && shown[at + move];
  if (!next) return;
  event.preventDefault();
  choose(Number(next.dataset.edge));
  next.querySelector('a').focus();
});

byId('find').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of rows()) row.hidden = !run.edges[row.dataset.edge].name.toLowerCase().includes(wanted);
});

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
  history.replaceState(null, '', '#' + time + 'edge=' + encodeURIComponent(edge.name));
  drawCharts();
  showReadout();
  showEvents();
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
