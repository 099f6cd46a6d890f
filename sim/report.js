/*
 * The program of the page: shows the run (the JSON in #run, fields in sim/README.md) and lets one
 * choose an edge and a time. No library, no network; texts of the run are only ever set as text.
 *
 * What is shown follows from `view` alone: edge, and the range of time in milliseconds. Whoever
 * changes it calls show(), which draws and keeps the address (#t=FROM,UNTIL&edge=NAME, in seconds).
 * Here is what does not change with the view, and the table of edges; report_charts.js follows it.
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
      html('td', { class: e.applied < e.head && e.state !== 'revoked' ? 'n no' : 'n' }, `${number(e.applied)} / ${number(e.head)}`),
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
