// SPDX-License-Identifier: MIT
// The read-only page. Everything shown goes through textContent or attributes we name ourselves:
// text of a task is never markup. The token lives in this tab's sessionStorage only.
import { LogParser } from '/assets/ansi.js';
import { Refused, call, follow } from '/assets/stream.js';

const KEY = 'cirrus-token';
const MOST_LINES = 50000;
const view = document.getElementById('view');
const login = document.getElementById('login');
const connection = document.getElementById('connection');
let token = sessionStorage.getItem(KEY) || '';
let current = null; // AbortController of what is shown

// ---- building blocks --------------------------------------------------------------------------

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'on') for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const KINDS = {
  completed: 'good', idle: 'good', busy: 'run', executing: 'run', scheduled: 'run', assigned: 'run',
  failed: 'bad', aborted: 'bad', silent: 'bad', unreachable: 'bad',
};
function badge(status) {
  return h('span', { class: `badge ${KINDS[status] || ''}` }, h('i', { 'aria-hidden': 'true' }), status);
}

function duration(ms) {
  if (!ms) return '';
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60000);
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / 1000) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function when(text) {
  if (!text) return '';
  const date = new Date(text);
  const ago = (Date.now() - date) / 1000;
  const words = ago < 90 ? 'just now' : ago < 5400 ? `${Math.round(ago / 60)} min ago`
    : ago < 129600 ? `${Math.round(ago / 3600)} h ago` : date.toLocaleDateString();
  return h('time', { datetime: text, title: date.toLocaleString() }, words);
}

function tags(map, format = (k, v) => `${k}=${v}`) {
  return h('ul', { class: 'tags' }, Object.entries(map || {}).map(([k, v]) => h('li', {}, format(k, v))));
}

function facts(pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(([, value]) => value).map(([name, value]) =>
    h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

function table(caption, heads) {
  const body = h('tbody');
  const element = h('table', {}, h('caption', {}, caption),
    h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col', class: head.wide && 'wide' }, head.name || head)))),
    body);
  return { element, body };
}

/** Rows by key: only what changed is drawn anew, so focus and selection stay. */
class Rows {
  constructor(body, order) { this.body = body; this.order = order; this.rows = new Map(); }
  set(key, value, draw) {
    const row = draw(value);
    row.value = value;
    const known = this.rows.get(key);
    this.rows.set(key, { row, value });
    if (known) { known.row.replaceWith(row); return; }
    let before = null;
    for (const other of this.body.children) {
      if (this.order(value, other.value) < 0) { before = other; break; }
    }
    this.body.insertBefore(row, before);
  }
  remove(key) {
    const known = this.rows.get(key);
    if (known) { known.row.remove(); this.rows.delete(key); }
  }
  clear() { this.body.replaceChildren(); this.rows.clear(); }
  get size() { return this.rows.size; }
}

let announced = true;  // false between a change of the address and what it shows

function show(title, ...parts) {
  document.title = `${title} · Cirrus`;
  view.replaceChildren(...parts);
  if (!announced) { announced = true; view.querySelector('h1')?.focus({ preventScroll: false }); }
}

function fail(failure) {
  if (failure instanceof Refused && failure.status === 401) return askToken('This token is not known here, or no longer good.');
  show('Not shown', h('h1', { tabindex: '-1' }, failure.status === 404 ? 'Not found' : 'Cannot be shown'),
    h('p', { class: 'notice error', role: 'alert' }, failure.message));
}

function connected(is) {
  connection.hidden = is;
  connection.textContent = is ? '' : 'The controller does not answer. Trying again…';
}

// ---- what is wrong with the controller itself ---------------------------------------------------

const troubles = document.getElementById('troubles');

function showTroubles(sentences) {
  const shown = [...troubles.children].map((child) => child.textContent);
  if (sentences.length === shown.length && sentences.every((text, i) => text === shown[i])) return;
  troubles.replaceChildren(...sentences.map((text) => h('p', {}, text)));
  troubles.hidden = !sentences.length;
}

/** For a live feed, which says it whenever it changes. */
function troubleTeller() {
  let told = [];
  return (name, data) => {
    if (name === 'reset' || (name === 'removed' && JSON.parse(data).key === 'controller')) told = [];
    else if (name === 'controller') told = JSON.parse(data).troubles;
    else if (name === 'current') showTroubles(told);
  };
}

/** For views without such a feed: once. */
async function askTroubles(signal) {
  try {
    const ready = await (await call('/readyz', token, { signal })).json();
    showTroubles(ready.uploads === 'refused' ? [ready.reason] : []);
  } catch (failure) {
    if (failure instanceof Refused && failure.status === 503) showTroubles([failure.message]);
  }
}

// ---- signing in -------------------------------------------------------------------------------

function askToken(why = '') {
  sessionStorage.removeItem(KEY);
  token = '';
  current?.abort();
  view.replaceChildren();
  showTroubles([]);
  document.title = 'Sign in · Cirrus';
  document.getElementById('forget').hidden = true;
  document.getElementById('login-error').textContent = why;
  login.hidden = false;
  document.getElementById('token').focus();
}

login.addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = document.getElementById('token');
  const given = field.value.trim();
  try {
    await call('/api/v1/whoami', given);
  } catch (failure) {
    document.getElementById('login-error').textContent =
      failure.status === 401 ? 'This token is not known here.' : failure.message;
    field.focus();
    return;
  }
  field.value = '';
  token = given;
  sessionStorage.setItem(KEY, token);
  login.hidden = true;
  route();
});

document.getElementById('forget').addEventListener('click', () => askToken());
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  document.getElementById('content').focus();
});

// ---- builds -----------------------------------------------------------------------------------

const ORDER = ['executing', 'scheduled', 'created', 'failed', 'aborted', 'completed', 'skipped'];

function buildRow(build) {
  const counts = Object.entries(build.tasks).sort((a, b) => ORDER.indexOf(a[0]) - ORDER.indexOf(b[0]));
  return h('tr', {},
    h('th', { scope: 'row' }, h('a', { href: `#/builds/${build.id}` }, build.id)),
    h('td', {}, badge(build.status)),
    h('td', {}, h('div', {}, build.repository, ' ', h('span', { class: 'soft' }, build.branch)),
      h('div', { class: 'soft' }, build.message.split('\n')[0].slice(0, 100)),
      build.trusted ? null : h('div', { class: 'soft' }, 'not trusted')),
    h('td', { class: 'wide' }, counts.map(([status, count]) => `${count} ${status}`).join(', ')),
    h('td', { class: 'num' }, when(build.created_at)));
}

function showBuilds(signal) {
  const { element, body } = table('Newest builds', ['Build', 'Status', 'Source', { name: 'Tasks', wide: true }, 'Submitted']);
  const rows = new Rows(body, (a, b) => Number(b.id) - Number(a.id));
  const empty = h('p', { class: 'empty' }, 'No builds yet. Submit one: ', h('code', {}, 'cirrus build submit . --follow'));
  const older = h('button', { type: 'button', hidden: true }, 'Older builds');
  empty.hidden = true;
  const gone = h('p', { class: 'soft', id: 'removed', hidden: true });
  show('Builds', h('h1', { tabindex: '-1' }, 'Builds'), h('div', { class: 'card' }, element, empty), h('p', {}, older), gone);
  const addOlder = async (limit) => {
    const last = body.lastElementChild?.querySelector('a')?.textContent || 1;
    try {
      const page = await (await call(`/api/v1/builds?limit=${limit}&before=${last}`, token, { signal })).json();
      for (const build of page.builds) {
        const tasks = {};
        for (const task of build.tasks) tasks[task.status] = (tasks[task.status] || 0) + 1;
        rows.set(`older/${build.id}`, { ...build, tasks }, buildRow);
      }
      older.hidden = !page.next_before;
      const { removed } = page;
      gone.hidden = !removed;
      if (removed) gone.textContent = `${removed.builds} older builds were removed, the last on ${removed.last_at.slice(0, 10)}: ${removed.why}.`;
    } catch (failure) { if (!signal.aborted) fail(failure); }
  };
  older.addEventListener('click', () => addOlder(50));
  let asked = false; // where the list ends, if the feed has all of it
  const tell = troubleTeller();
  return follow('/api/v1/builds/events', token, signal, (name, data) => {
    tell(name, data);
    const build = JSON.parse(data);
    if (name === 'reset') rows.clear();
    else if (name === 'build') rows.set(build.key, build, buildRow);
    else if (name === 'current') {
      empty.hidden = rows.size > 0;
      element.hidden = !rows.size;
      if (rows.size >= 50) older.hidden = false;
      else if (!asked) { asked = true; addOlder(1); }
    }
  }, connected);
}

// Left to right: a task stands right of everything it depends on.
function graph(tasks) {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const level = new Map();
  const levelOf = (task) => {
    if (!level.has(task.id)) {
      level.set(task.id, 0);
      level.set(task.id, Math.max(0, ...task.depends_on.map((id) => (byId.has(id) ? levelOf(byId.get(id)) + 1 : 0))));
    }
    return level.get(task.id);
  };
  const columns = [];
  for (const task of tasks) (columns[levelOf(task)] ||= []).push(task);
  const W = 190, H = 46, GX = 56, GY = 16;
  const place = new Map();
  columns.forEach((column, x) => column.forEach((task, y) => place.set(task.id, { x: x * (W + GX) + 2, y: y * (H + GY) + 2 })));
  const width = columns.length * (W + GX) - GX + 4;
  const height = Math.max(...columns.map((column) => column.length)) * (H + GY) - GY + 4;
  const picture = svg('svg', { class: 'graph', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' });
  for (const task of tasks) {
    for (const id of task.depends_on) {
      const from = place.get(id), to = place.get(task.id);
      if (!from) continue;
      const x1 = from.x + W, y1 = from.y + H / 2, x2 = to.x, y2 = to.y + H / 2, m = (x1 + x2) / 2;
      picture.append(svg('path', { d: `M${x1} ${y1}C${m} ${y1} ${m} ${y2} ${x2} ${y2}` }));
    }
  }
  for (const task of tasks) {
    const at = place.get(task.id);
    const name = task.name.length > 24 ? `${task.name.slice(0, 23)}…` : task.name;
    const node = svg('a', { href: `#/tasks/${task.id}`, class: KINDS[task.status] || '', tabindex: '-1' },
      svg('rect', { x: at.x, y: at.y, width: W, height: H, rx: 8 }),
      svg('text', { x: at.x + 12, y: at.y + 20 }), svg('text', { x: at.x + 12, y: at.y + 36, class: 'sub' }));
    node.children[1].textContent = name;
    node.children[2].textContent = [task.status, duration(task.duration_ms)].filter(Boolean).join(' · ');
    picture.append(node);
  }
  return picture;
}

function noteOf(task) {
  return task.waiting_reason || task.reason || (task.allow_failures && task.status === 'failed' ? 'failure allowed' : '');
}

function drawBuild(build) {
  const { element, body } = table('Tasks', ['Task', 'Status', 'Time', { name: 'Worker', wide: true }, 'What it waits for, or why it ended']);
  for (const task of build.tasks) {
    body.append(h('tr', {},
      h('th', { scope: 'row' }, h('a', { href: `#/tasks/${task.id}` }, task.name)),
      h('td', {}, badge(task.unreachable ? 'unreachable' : task.status)),
      h('td', { class: 'num' }, duration(task.duration_ms)),
      h('td', { class: 'wide' }, task.worker || ''),
      h('td', {}, noteOf(task))));
  }
  const edges = build.tasks.some((task) => task.depends_on.length);
  const issues = build.issues.filter((issue) => issue.message);
  show(`Build ${build.id}`,
    h('p', { class: 'crumbs' }, h('a', { href: '#/' }, 'Builds')),
    h('h1', { tabindex: '-1' }, `Build ${build.id} `, badge(build.status)),
    facts([['Repository', build.repository], ['Branch', build.branch],
      ['Commit', build.commit && h('code', {}, build.commit.slice(0, 12))],
      ['Submitted', when(build.created_at)], ['Trust', build.trusted ? '' : 'none: no secrets, and only pools that take it'],
      ['Message', build.message.split('\n')[0]]]),
    issues.length ? h('div', { class: 'notice' }, h('ul', {}, issues.map((issue) =>
      h('li', {}, issue.path ? `${issue.path}:${issue.line}: ` : '', issue.message)))) : null,
    edges && build.tasks.length <= 120 ? h('div', { class: 'card' }, graph(build.tasks)) : null,
    h('div', { class: 'card' }, element));
}

function showBuild(id, signal) {
  let last = null, drawn = false;
  // At most one drawing a frame, and not while something in it has the focus of a pointer.
  const draw = () => { drawn = false; if (!signal.aborted && last) keepingFocus(() => drawBuild(last)); };
  return follow(`/api/v1/builds/${id}/events`, token, signal, (name, data) => {
    if (name === 'end') return false;
    if (name === 'build') {
      last = JSON.parse(data).build;
      if (!drawn) { drawn = true; requestAnimationFrame(draw); }
    }
    return true;
  }, connected);
}

function keepingFocus(draw) {
  const focus = document.activeElement?.getAttribute?.('href');
  const onHeading = document.activeElement?.tagName === 'H1';
  draw();
  if (onHeading) view.querySelector('h1')?.focus({ preventScroll: true });
  if (focus && document.activeElement === document.body) {
    for (const link of view.querySelectorAll('a')) {
      if (link.getAttribute('href') === focus) { link.focus({ preventScroll: true }); break; }
    }
  }
}

// ---- one task and its log ---------------------------------------------------------------------

function range(text) {
  const found = /^L(\d+)(?:-L?(\d+))?$/.exec(text || '');
  if (!found) return null;
  const from = Number(found[1]), to = Number(found[2] || found[1]);
  return { from: Math.min(from, to), to: Math.max(from, to) };
}

class LogView {
  constructor(task, step, mark) {
    this.base = `#/tasks/${task}/${encodeURIComponent(step)}`;
    this.mark = mark;
    this.parser = new LogParser();
    this.count = 0;
    this.list = h('ol');
    this.note = h('p', { class: 'note', hidden: true });
    this.box = h('div', { class: 'log', role: 'log', 'aria-live': 'off', tabindex: '0', 'aria-label': `Log of ${step}` }, this.note, this.list);
    this.tail = h('input', { type: 'checkbox', checked: !mark });
    this.search = h('input', { type: 'search', placeholder: 'Search the log', 'aria-label': 'Search the log' });
    this.found = h('span', { class: 'soft', role: 'status' });
    const wrap = h('input', { type: 'checkbox', on: { change: () => this.box.classList.toggle('wrap', wrap.checked) } });
    this.hits = []; this.at = -1;
    this.search.addEventListener('input', () => this.find());
    this.search.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') { event.preventDefault(); this.go(event.shiftKey ? -1 : 1); }
    });
    this.raw = h('button', { type: 'button' }, 'Download');
    this.bar = h('div', { class: 'toolbar' }, this.search,
      h('button', { type: 'button', 'aria-label': 'Previous match', on: { click: () => this.go(-1) } }, '↑'),
      h('button', { type: 'button', 'aria-label': 'Next match', on: { click: () => this.go(1) } }, '↓'),
      this.found, h('label', {}, wrap, 'Wrap'), h('label', {}, this.tail, 'Follow'), this.raw);
    this.box.addEventListener('wheel', (event) => { if (event.deltaY < 0) this.tail.checked = false; }, { passive: true });
    this.partial = null;
  }
  line(parts, number) {
    const text = h('span');
    for (const part of parts) {
      if (part.classes) text.append(h('span', { class: part.classes }, part.text)); else text.append(part.text);
    }
    if (!parts.length) text.append('\u200b');
    const link = h('a', { href: `${this.base}/L${number}`, 'aria-label': `Line ${number}` }, String(number));
    link.addEventListener('click', (event) => {
      if (!event.shiftKey || !this.mark) return;
      event.preventDefault();
      location.hash = `${this.base}/L${Math.min(this.mark.from, number)}-L${Math.max(this.mark.from, number)}`;
    });
    const row = h('li', { id: `L${number}` }, link, text);
    if (this.mark && number >= this.mark.from && number <= this.mark.to) row.classList.add('marked');
    return row;
  }
  feed(bytes) {
    const rows = document.createDocumentFragment();
    this.partial?.remove();
    this.partial = null;
    for (const parts of this.parser.feed(bytes)) rows.append(this.line(parts, ++this.count));
    const rest = this.parser.rest();
    if (rest.length) rows.append(this.partial = this.line(rest, this.count + 1));
    this.list.append(rows);
    for (let over = this.list.childElementCount - MOST_LINES; over > 0; over--) this.list.firstElementChild.remove();
    if (this.count > MOST_LINES) {
      this.note.hidden = false;
      this.note.textContent = `The newest ${MOST_LINES} lines of ${this.count}. Download the log for all of it.`;
    }
    if (this.search.value && !this.due) this.due = setTimeout(() => { this.due = 0; this.find(false); }, 300);
    if (this.mark && !this.jumped) {
      const row = this.list.querySelector('.marked');
      if (row) { this.jumped = true; row.scrollIntoView({ block: 'center' }); }
    } else if (this.tail.checked) {
      this.box.scrollTop = this.box.scrollHeight;
    }
  }
  remark(mark) {
    this.mark = mark;
    this.tail.checked = false;
    for (const row of this.list.querySelectorAll('.marked')) row.classList.remove('marked');
    for (let n = mark.from; n <= mark.to && n <= this.count; n++) document.getElementById(`L${n}`)?.classList.add('marked');
  }
  find(jump = true) {
    for (const row of this.hits) row.classList.remove('hit', 'now');
    const wanted = this.search.value.toLowerCase();
    this.hits = wanted ? [...this.list.children].filter((row) => row.lastElementChild.textContent.toLowerCase().includes(wanted)) : [];
    for (const row of this.hits) row.classList.add('hit');
    if (jump) { this.at = -1; if (this.hits.length) this.go(1); }
    this.say();
  }
  go(by) {
    if (!this.hits.length) return;
    this.hits[this.at]?.classList.remove('now');
    this.at = (this.at + by + this.hits.length) % this.hits.length;
    this.hits[this.at].classList.add('now');
    this.tail.checked = false;
    this.hits[this.at].scrollIntoView({ block: 'center' });
    this.say();
  }
  say() {
    const n = this.hits.length;
    this.found.textContent = !this.search.value ? '' : n ? `${Math.max(this.at, 0) + 1} of ${n} lines` : 'no matches';
  }
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function download(path, name, signal) {
  const blob = await (await call(path, token, { signal })).blob();
  const link = h('a', { href: URL.createObjectURL(new Blob([blob], { type: 'application/octet-stream' })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

let shownTask = null; // {id, step, log}: a new line in the address must not load the log again

async function showTask(id, step, mark, signal) {
  const first = (await (await call(`/api/v1/tasks/${id}`, token, { signal })).json()).task;
  const names = first.steps.map((s) => s.name);
  const wanted = step || (first.steps.find((s) => s.status === 'failed') || first.steps.find((s) => s.status === 'executing')
    || first.steps[first.steps.length - 1] || {}).name;
  const head = h('div');
  const steps = h('ul', { class: 'steps' });
  const log = wanted !== undefined && names.includes(wanted) ? new LogView(id, wanted, mark) : null;
  shownTask = { id, step: wanted, log };
  const draw = (task) => {
    head.replaceChildren(
      h('p', { class: 'crumbs' }, h('a', { href: '#/' }, 'Builds'), ' / ', h('a', { href: `#/builds/${task.build_id}` }, `Build ${task.build_id}`)),
      h('h1', { tabindex: '-1' }, task.name, ' ', badge(task.unreachable ? 'unreachable' : task.status)),
      facts([['Task', task.id], ['Worker', task.worker], ['Attempt', task.attempt > 1 && String(task.attempt)],
        ['Started', when(task.started_at)], ['Time', duration(task.duration_ms)]]),
      noteOf(task) ? h('p', { class: `notice ${task.status === 'failed' ? 'error' : ''}` }, task.waiting_reason ? 'Waits: ' : '', noteOf(task)) : '');
    steps.replaceChildren(...task.steps.map((s) => h('li', {},
      h('a', { href: `#/tasks/${id}/${encodeURIComponent(s.name)}`, 'aria-current': s.name === wanted && 'step' },
        h('span', { class: 'name' }, s.name), h('span', { class: 'soft' }, duration(s.duration_ms) || s.status)))));
  };
  draw(first);
  show(`${first.name}`, head, h('div', { class: 'task' },
    h('nav', { class: 'card', 'aria-label': 'Steps' }, steps),
    h('section', { 'aria-label': 'Log' }, log ? [log.bar, log.box]
      : h('p', { class: 'empty card' }, step ? `This task has no step '${step}'.` : 'Nothing has run yet.'))));
  const path = `/api/v1/tasks/${id}/logs/${encodeURIComponent(wanted)}`;
  log?.raw.addEventListener('click', () => download(path, `task-${id}-${wanted}.log`, signal).catch(fail));
  await Promise.all([
    follow(`/api/v1/tasks/${id}/events`, token, signal, (name, data) => {
      if (name === 'end') return false;
      if (name === 'task') keepingFocus(() => draw(JSON.parse(data).task));
      return true;
    }, connected),
    log ? follow(`${path}?follow=1`, token, signal, (name, data) => {
      if (name === 'end') return false;
      if (name === 'log') log.feed(bytesOf(JSON.parse(data).data));
      return true;
    }, connected) : null,
  ]);
}

// ---- workers ----------------------------------------------------------------------------------

function workerRow(worker) {
  const use = worker.resources_in_use || {};
  return h('tr', {},
    h('th', { scope: 'row' }, worker.name, h('div', { class: 'soft' }, `pool ${worker.pool}`)),
    h('td', {}, badge(worker.state), worker.conflict ? h('div', { class: 'bad' }, worker.conflict) : null),
    h('td', {}, Object.keys(worker.resources).length
      ? tags(worker.resources, (name, total) => `${name} ${use[name] || 0}/${total}`) : h('span', { class: 'soft' }, 'one task at a time')),
    h('td', {}, h('ul', { class: 'tags' }, worker.tasks.map((id) => h('li', {}, h('a', { href: `#/tasks/${id}` }, `task ${id}`))))),
    h('td', { class: 'wide' }, tags(worker.labels)),
    h('td', { class: 'num' }, worker.last_seen_at ? when(worker.last_seen_at) : 'never'));
}

function takes(isolations) {
  if (!isolations.length) return 'trusted builds only';
  return isolations[0] === 'any' ? 'any build' : `untrusted builds in ${isolations.join(', ')}`;
}

function showWorkers(signal) {
  const pools = table('Pools', ['Pool', 'Workers', 'Connected', 'State', 'Takes']);
  const workers = table('Workers', ['Worker', 'State', 'Resources in use', 'Runs', { name: 'Labels', wide: true }, 'Last seen']);
  const byName = (a, b) => (a.pool || '').localeCompare(b.pool || '') || a.name.localeCompare(b.name);
  const poolRows = new Rows(pools.body, byName), workerRows = new Rows(workers.body, byName);
  const empty = h('p', { class: 'empty' }, 'No workers yet. On any machine: ', h('code', {}, 'cirrus worker run --token TOKEN --rpc-endpoint URL'));
  empty.hidden = true;
  show('Workers', h('h1', { tabindex: '-1' }, 'Workers'), h('div', { class: 'card' }, pools.element),
    h('div', { class: 'card' }, workers.element, empty));
  const tell = troubleTeller();
  return follow('/api/v1/workers/events', token, signal, (name, data) => {
    tell(name, data);
    const item = JSON.parse(data);
    if (name === 'reset') { poolRows.clear(); workerRows.clear(); }
    else if (name === 'removed') { poolRows.remove(item.key); workerRows.remove(item.key); }
    else if (name === 'worker') workerRows.set(item.key, item, workerRow);
    else if (name === 'pool') {
      poolRows.set(item.key, item, (pool) => h('tr', {}, h('th', { scope: 'row' }, pool.name), h('td', {}, String(pool.workers)),
        h('td', {}, String(pool.connected)), h('td', {}, pool.paused ? badge('paused') : h('span', { class: 'soft' }, 'open')),
        h('td', {}, takes(pool.untrusted_isolations))));
    } else if (name === 'current') { empty.hidden = workerRows.size > 0; workers.element.hidden = !workerRows.size; }
  }, connected);
}

// ---- addresses --------------------------------------------------------------------------------

async function route() {
  if (!token) return askToken();
  const parts = location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const mark = range(parts[3]);
  if (parts[0] === 'tasks' && mark && shownTask?.log && shownTask.id === parts[1] && shownTask.step === parts[2]) {
    return shownTask.log.remark(mark);
  }
  current?.abort();
  current = new AbortController();
  shownTask = null;
  connected(true);
  login.hidden = true;
  document.getElementById('forget').hidden = false;
  for (const link of document.querySelectorAll('[data-nav]')) {
    const here = link.dataset.nav === (parts[0] === 'workers' ? 'workers' : 'builds');
    if (here) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  const { signal } = current;
  if (parts[0] === 'builds' || parts[0] === 'tasks') askTroubles(signal);
  try {
    if (!parts.length) await showBuilds(signal);
    else if (parts[0] === 'workers') await showWorkers(signal);
    else if (parts[0] === 'builds' && /^\d+$/.test(parts[1])) await showBuild(parts[1], signal);
    else if (parts[0] === 'tasks' && /^\d+$/.test(parts[1])) await showTask(parts[1], parts[2], mark, signal);
    else fail(new Refused(404, 'There is nothing at this address.'));
  } catch (failure) {
    if (!signal.aborted) fail(failure);
  }
}

addEventListener('hashchange', () => {
  // A new page is announced by its heading; another line of the same log is not a new page.
  announced = Boolean(shownTask?.log && /\/L\d+/.test(location.hash));
  route();
});
route();
