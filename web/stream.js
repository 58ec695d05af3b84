// SPDX-License-Identifier: MIT
// Event streams by fetch, because EventSource cannot send a bearer token.

export class Refused extends Error {
  constructor(status, detail) {
    super(detail || `the controller answered ${status}`);
    this.status = status;
  }
}

export async function call(path, token, options = {}) {
  const answer = await fetch(path, {
    ...options,
    credentials: 'omit',
    headers: { Authorization: `Bearer ${token}`, ...(options.headers || {}) },
  });
  if (answer.ok) return answer;
  let detail = '';
  try { detail = (await answer.json()).detail; } catch { /* no problem document */ }
  throw new Refused(answer.status, detail);
}

/**
 * Calls onEvent(name, data) for each event until `signal` aborts, or onEvent returns false. Opens
 * a broken stream again where it was; onState(true|false) says whether it is connected.
 */
export async function follow(path, token, signal, onEvent, onState = () => {}) {
  let lastId = '';
  for (let failures = 0; !signal.aborted;) {
    try {
      const headers = { Accept: 'text/event-stream' };
      if (lastId) headers['Last-Event-ID'] = lastId;
      const answer = await call(path, token, { headers, signal });
      onState(true);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let pending = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        failures = 0;
        pending += value;
        let end;
        while ((end = pending.indexOf('\n\n')) >= 0) {
          const event = parse(pending.slice(0, end));
          pending = pending.slice(end + 2);
          if (event.id) lastId = event.id;
          if (event.name && onEvent(event.name, event.data) === false) {
            await reader.cancel();
            return;
          }
        }
      }
    } catch (failure) {
      if (signal.aborted) return;
      // What is refused stays refused; a controller that is away comes back.
      if (failure instanceof Refused && failure.status < 500 && failure.status !== 429) throw failure;
      onState(false);
    }
    failures++;
    await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 100 * 2 ** failures)));
  }
}

function parse(text) {
  const event = { name: '', data: '', id: '' };
  for (const line of text.split('\n')) {
    if (line.startsWith('event: ')) event.name = line.slice(7);
    else if (line.startsWith('data: ')) event.data += (event.data ? '\n' : '') + line.slice(6);
    else if (line.startsWith('id: ')) event.id = line.slice(4);
  }
  return event;
}
