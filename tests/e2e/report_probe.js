/*
 * The part of test_report.sh that runs in the browser, behind the program of a page: it reads what
 * the page shows and compares it with the JSON that holdfast-sim wrote (`expected`).
 *
 * Times and values are read from the picture through the labels of its axes, not through the page's
 * own functions. `probe` names what this page is to be asked; test_report.sh reads the lines that
 * begin with PROBE. `pageErrors` was filled since before the page's program ran.
 */

const lines = [];
function check(what, holds, seen) {
  lines.push(`PROBE ${holds ? 'ok' : 'FAILED'} ${what}${holds ? '' : ': ' + JSON.stringify(seen)}`);
}
const same = (what, seen, wanted) => check(what, JSON.stringify(seen) === JSON.stringify(wanted), { seen, wanted });
const near = (what, seen, wanted, by) => check(what, Math.abs(seen - wanted) <= by, { seen, wanted, by });
const all = selector => [...document.querySelectorAll(selector)];
const text = selector => document.querySelector(selector).textContent;

/* "1,234", "20.5 s", "1.2 KiB", "10:30" back to a number; milliseconds and bytes. */
function value(shown) {
  const units = { ms: 1, s: 1e3, min: 60e3, h: 3600e3, d: 86400e3, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
  if (/^\d+:\d+/.test(shown)) return shown.split(':').reduce((n, part) => n * 60 + Number(part), 0) * 1e3;
  const [, digits, unit] = shown.replace(/,/g, '').match(/^([\d.]+)(?: (\w+))?/) || [null, NaN, 's'];
  return Number(digits) * (unit ? units[unit] : 1);
}

/* Of two labelled marks on an axis: what a place on it means. */
function axis(labels, place) {
  const marks = labels.map(l => [Number(l.getAttribute(place)) - (place === 'y' ? 4 : 0), value(l.textContent)]);
  const [[a, from], [b, until]] = [marks[0], marks[marks.length - 1]];
  return at => from + (at - a) / (b - a) * (until - from);
}
const time = () => axis(all('#charts .tick'), 'x');
const place = ms => {
  const read = time(), zero = read(0), one = read(1);
  return (ms - zero) / (one - zero);
};
const panel = name => document.querySelector(`#charts .panel[data-name="${name}"]`);
const scale = name => axis([...panel(name).querySelectorAll('text[text-anchor=end]')], 'y');

/* What the line of that colour says at a time: it is made of steps. */
function shownAt(name, color, ms) {
  const d = panel(name).querySelector(`path[stroke="var(--${color})"]`).getAttribute('d');
  const x = place(ms);
  for (const [, left, y, right] of d.matchAll(/([\d.-]+) ([\d.-]+)H([\d.-]+)/g)) {
    if (Number(left) <= x && x < Number(right)) return scale(name)(Number(y));
  }
  return NaN;
}
const edgeNamed = name => expected.edges.find(e => e.name === name);
const pointAt = (column, ms) => column[Math.floor(ms / expected.interval_ms)];

/* The address follows a little later. */
const pause = () => new Promise(done => setTimeout(done, 300));

function send(type, target, properties) {
  const kind = { wheel: WheelEvent, keydown: KeyboardEvent }[type] || PointerEvent;
  const at = document.getElementById('charts').getBoundingClientRect();
  const where = properties.ms === undefined ? {} : { clientX: at.left + place(properties.ms), clientY: at.top + 100 };
  target.dispatchEvent(new kind(type, { bubbles: true, cancelable: true, button: 0, ...where, ...properties }));
}

/* The two ends of the range that the page says it shows. */
const range = () => text('#range').split(' to ').map(value);
const readout = name => all('#readout div').find(d => d.querySelector('dt').textContent === name)
  .querySelector('dd').textContent;

/* ---- what every page must be ---- */

function asPage() {
  same('no error, nothing forbidden was tried', pageErrors, []);
  same('nothing was fetched', performance.getEntriesByType('resource').map(r => r.name), []);
  same('title', text('#title'), expected.title);
  check('verdict', text('#verdict').includes(expected.ok ? 'held' : 'failed'), text('#verdict'));
  check('violation', document.querySelector('#violation').hidden === (expected.violation === '') &&
    text('#violation') === expected.violation, text('#violation'));
  same('all edges, worst first', all('#edge-rows tr').map(r => r.cells[0].textContent),
    expected.edges.map(e => e.name));
  same('expectations', all('#expectation-rows tr').map(r => [r.cells[0].className, r.cells[1].textContent]),
    expected.expectations.map(e => [e.held ? 'ok' : 'no', e.text]));
  const nameless = all('button, input, a, svg[role=img], [role=group]').filter(e =>
    !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length)));
  same('everything has an accessible name', nameless.map(e => e.outerHTML.slice(0, 80)), []);
  same('identities are unique', all('[id]').length, new Set(all('[id]').map(e => e.id)).size);
}

/* ---- figures ---- */

function rowsShowTheJson() {
  all('#edge-rows tr').forEach((row, i) => {
    const e = expected.edges[i], cells = [...row.cells].map(c => c.textContent);
    const plans = Object.entries(e.plans).filter(p => p[1]).map(p => p.join(' ')).join(', ') || '–';
    same(`${e.name}: state, plans, restarts`, [cells[2], cells[9], value(cells[10])], [e.state, plans, e.restarts]);
    same(`${e.name}: applied and head`, cells[3].split(' / ').map(value), [e.applied, e.head]);
    same(`${e.name}: cuts`, value(cells[4].split(', ')[0]), e.cuts);
    for (const [what, cell, ms] of [['staleness', cells[5], e.staleness_max_ms], ['recovery', cells[6], e.recovery_max_ms]]) {
      if (ms === null) same(`${e.name}: no ${what}`, cell, '–');
      else near(`${e.name}: ${what}`, value(cell), ms, ms / 20);
    }
    near(`${e.name}: bytes down`, value(cells[7]), e.bytes_down, e.bytes_down / 20);
    near(`${e.name}: bytes up`, value(cells[8]), e.bytes_up, e.bytes_up / 20);
    same(`${e.name}: bytes of all points`, e.points.bytes_down.reduce((a, b) => a + b), e.bytes_down);
  });
  const tile = i => value(all('#tiles dd')[i].firstChild.textContent);
  const sum = key => expected.edges.reduce((n, e) => n + e[key], 0);
  same('tiles of cuts and restarts', [tile(1), tile(6)], [sum('cuts'), sum('restarts') + expected.core.restarts]);
  near('tile of bytes down', tile(4), sum('bytes_down'), sum('bytes_down') / 20);
}

/* ---- the picture: cut-and-heal.sim cuts lagos from 10 s to 30 s ---- */

function cutIsShaded() {
  const shades = all('#charts .cut'), read = time();
  same('one cut, one shade', shades.length, edgeNamed('lagos').cut_spans.length);
  const left = Number(shades[0].getAttribute('x')), width = Number(shades[0].getAttribute('width'));
  near('the shade begins with the cut', read(left), 10000, 30);
  near('the shade ends with the cut', read(left + width), 30000, 30);
  const box = shades[0].getBoundingClientRect();
  check('the shade covers all panels', box.height > 350 && box.width > 200, [box.height, box.width]);
  check('the shade can be seen', getComputedStyle(shades[0]).fill.startsWith('rgb'), getComputedStyle(shades[0]).fill);
  const link = document.querySelector('#charts .link-cut');
  near('the band of the link agrees', read(Number(link.getAttribute('x'))), 10000, 30);
}

function curvesShowTheJson() {
  const lagos = edgeNamed('lagos').points, head = expected.core.points.head_max;
  for (const ms of [5010, 20010, 29010, 35010]) {
    near(`applied at ${ms}`, shownAt('Batches', 'applied', ms), pointAt(lagos.applied_max, ms), 0.1);
    near(`head at ${ms}`, shownAt('Batches', 'head', ms), pointAt(head, ms), 0.1);
    near(`staleness at ${ms}`, shownAt('Staleness', 'stale', ms), pointAt(lagos.staleness_max_ms, ms), 200);
  }
  check('the cut edge falls behind', shownAt('Batches', 'applied', 29010) + 4 < shownAt('Batches', 'head', 29010), 0);
  const busy = lagos.bytes_down.indexOf(Math.max(...lagos.bytes_down));
  const rate = lagos.bytes_down[busy] / expected.interval_ms * 1e3;
  near('bytes a second', shownAt('Bytes a second', 'down', (busy + 0.5) * expected.interval_ms), rate, rate / 50);
}

function stripShowsTheCut() {
  const row = all('#edge-rows tr').find(r => r.cells[0].textContent === 'lagos');
  const picture = row.querySelector('svg').getBoundingClientRect();
  const cut = row.querySelector('path[style*="--cut"]').getBoundingClientRect();
  const at = px => (px - picture.left) / picture.width * expected.duration_ms;
  near('the strip shows where the cut begins', at(cut.left), 10000, 200);
  near('the strip shows where the cut ends', at(cut.right), 30000, 200);
}

/* ---- the hand ---- */

async function handWorks() {
  const charts = document.getElementById('charts'), lagos = edgeNamed('lagos').points;
  charts.setPointerCapture = () => {}; /* it wants a pointer that exists */
  send('pointermove', charts, { ms: 20010 });
  near('readout: time', value(readout('Time')), 20010, 60);
  same('readout: link', readout('Link'), 'cut');
  near('readout: applied', value(readout('Applied')), pointAt(lagos.applied_max, 20010), 0);
  near('readout: head', value(readout('Head')), pointAt(expected.core.points.head_max, 20010), 0);
  same('readout: state', readout('State'), 'cut-off');
  send('wheel', charts, { ms: 20010, deltaY: -300 });
  let [from, until] = range();
  check('the wheel zooms in around the pointer', from > 3000 && from < 20010 && until > 20010 && until < 37000, range());
  send('wheel', charts, { ms: 20010, deltaY: 3000 });
  send('dblclick', charts, {});
  check('a double click shows the whole run', text('#range').startsWith('the whole run'), text('#range'));
  send('pointerdown', charts, { ms: 12000 });
  send('pointermove', charts, { ms: 15000 });
  send('pointerup', charts, { ms: 18000 });
  [from, until] = range();
  near('dragging zooms: from', from, 12000, 60);
  near('dragging zooms: until', until, 18000, 60);
  await pause();
  check('the address keeps it', /^#t=1[12][\d.]*,1[78][\d.]*&edge=lagos$/.test(location.hash), location.hash);
  const shade = document.querySelector('#charts .cut').getBoundingClientRect();
  check('all that is in view is cut', shade.width > charts.clientWidth * 0.8, shade.width);
  send('keydown', charts, { key: '+' });
  near('+ halves the time', range()[1] - range()[0], (until - from) / 2, 100);
  document.getElementById('reset').click();
  check('the button shows the whole run', text('#range').startsWith('the whole run'), text('#range'));
}

function edgesCanBeChosen() {
  const named = name => all('#edge-rows tr').find(r => r.cells[0].textContent === name);
  named('recife').cells[3].click();
  same('a click chooses', [text('#edge-name'), all('#charts .cut').length], ['recife', 0]);
  same('... and says so', all('[aria-current=true]').map(e => e.textContent), ['recife']);
  const order = expected.edges.map(e => e.name);
  const key = order.indexOf('recife') > order.indexOf('lagos') ? 'ArrowUp' : 'ArrowDown';
  send('keydown', named('recife').querySelector('a'), { key });
  same('a key chooses', [text('#edge-name'), document.activeElement.textContent], ['lagos', 'lagos']);
  const find = document.getElementById('find');
  find.value = 'REC';
  find.dispatchEvent(new Event('input'));
  same('the search keeps what matches', all('#edge-rows tr').filter(r => r.getClientRects().length > 0).length, 1);
}

function eventsAreListed() {
  const lagos = edgeNamed('lagos').events.length + expected.core.events.length;
  same('a row and a mark for each event', [all('#event-rows tr').length, all('#charts .marker').length], [lagos, lagos]);
  const cut = all('#event-rows tr').find(r => r.cells[1].textContent === 'cut');
  near('the cut has its time', value(cut.cells[0].textContent), 10000, 0);
}

/* ---- the pages ---- */

const probes = {
  whole: [asPage, rowsShowTheJson, cutIsShaded, curvesShowTheJson, stripShowsTheCut, eventsAreListed, handWorks,
    edgesCanBeChosen],
  /* #t=10,20&edge=lagos */
  address: [asPage, () => {
    const ticks = all('#charts .tick').map(t => value(t.textContent)), view = range();
    same('the asked edge and time', [text('#edge-name'), ...view], ['lagos', 10000, 20000]);
    check('the axis shows that time', ticks.length > 4 && ticks[0] === 10000 && ticks[ticks.length - 1] === 20000, ticks);
    near('a moment is where it should be', shownAt('Batches', 'applied', 15010),
      pointAt(edgeNamed('lagos').points.applied_max, 15010), 0.1);
    same('only its events', all('#event-rows tr').length,
      edgeNamed('lagos').events.filter(e => e.at_ms >= 10000 && e.at_ms <= 20000).length);
  }],
  hostile: [asPage, async () => {
    same('texts stayed texts', [window.harmed, all('img, b, iframe').length, all('script').length], [undefined, 0, 4]);
    const row = all('#edge-rows tr').find(r => r.cells[0].textContent.includes('<'));
    row.click();
    same('a hostile name is chosen like any other', text('#edge-name'), row.cells[0].textContent);
    await pause();
    same('... and kept in the address', new URLSearchParams(location.hash.slice(1)).get('edge'), text('#edge-name'));
  }],
  many: [asPage, rowsShowTheJson, () => {
    const scroll = document.getElementById('edge-scroll');
    check('200 edges scroll in their table', scroll.scrollHeight > 4000 && scroll.clientHeight < 500, scroll.scrollHeight);
    check('the page is no wider than the window', document.documentElement.scrollWidth <= innerWidth,
      document.documentElement.scrollWidth);
  }],
};

try {
  for (const ask of probes[probe]) await ask();
} catch (e) {
  check(probe, false, e.stack);
}
document.body.append(Object.assign(document.createElement('pre'), { textContent: '\n' + lines.join('\n') + '\n' }));
