// Tollhouse: the composer. Only on chat pages, after tollhouse.js, with defer. Without it the form posts as any other.
(() => {
  const $ = (s, e = document) => e.querySelector(s), on = (name, fn, capture) => document.addEventListener(name, fn, capture), root = document.documentElement
  const make = (tag, props, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids); return e }
  const store = (k, v, where = 'localStorage') => { try { const s = window[where]; return v === undefined ? s.getItem(k) : v ? s.setItem(k, v) : s.removeItem(k) } catch { } }
  const composer = e => e.target.closest?.('form[data-composer]'), picker = f => $('input[type=file]', f), mine = $('form[data-composer]')

  // attachments: chips with size and a remove button; also by paste and drop. A picker knows its last choice only, so the composer holds them all
  const size = n => n < 999500 ? Math.max(1, Math.round(n / 1e3)) + ' kB' : (n / 1e6).toFixed(1) + ' MB'
  const held = new WeakMap, files = f => held.get(f) || []
  const put = (f, all) => { const t = new DataTransfer; for (const g of all) t.items.add(g); held.set(f, [...all]); picker(f).files = t.files; chips(f) }
  const chips = f => $('[data-chips]', f)?.replaceChildren(...files(f).map((file, n, all) => {
    const x = make('button', { type: 'button', textContent: '×', ariaLabel: 'Remove ' + file.name, onclick: () => { put(f, all.toSpliced(n, 1)); $('textarea', f).focus() } })
    return make('span', { className: 'attachment' }, make('span', { className: 'name', textContent: file.name }), make('span', { className: 'size', textContent: size(file.size) }), x)
  }))
  // what the server would refuse is refused before it travels: by its kind, and for text by its beginning
  const trouble = (title, text) => { $('#trouble').replaceChildren(make('article', { className: 'denial failed' }, make('h3', { textContent: title }), make('p', { textContent: text }))); toEnd() }
  const isText = async g => { try { return !/[\0-\x08\x0b\x0e-\x1f\x7f]/.test(new TextDecoder('utf-8', { fatal: true }).decode(await g.slice(0, 4096).arrayBuffer(), { stream: true })) } catch { return false } }
  const takes = async (f, g) => {
    const [media, text] = (picker(f)?.accept || '').split('text/plain'), name = g.name.toLowerCase() // what stands behind it is text too
    return g.size > 0 && (media.split(',').some(k => k && (k[0] === '.' ? name.endsWith(k) : g.type === k)) || text !== undefined && await isText(g))
  }
  const add = async (f, more) => {
    const fit = await Promise.all(more.map(g => takes(f, g))), bad = more.filter((g, n) => !fit[n])
    if (bad.length) trouble(f.dataset.kindsTitle, f.dataset.kindsText.replace('{name}', bad.map(g => g.name).join(', ')))
    else if (more.length) clear()
    if (bad.length < more.length) put(f, [...files(f), ...more.filter((g, n) => fit[n])])
  }
  on('change', e => { const f = composer(e), p = f && picker(f); if (p && e.target === p) { const more = [...p.files]; put(f, files(f)); add(f, more) } })
  const carries = t => [...t?.types || []].includes('Files')
  on('paste', e => { const f = composer(e); if (f && e.clipboardData.files.length) { e.preventDefault(); add(f, [...e.clipboardData.files]) } })
  on('dragover', e => { const f = composer(e); if (f && carries(e.dataTransfer)) { e.preventDefault(); f.classList.add('dropping') } })
  on('dragleave', e => composer(e)?.classList.remove('dropping'))
  on('drop', e => { const f = composer(e); if (f && carries(e.dataTransfer)) { e.preventDefault(); f.classList.remove('dropping'); add(f, [...e.dataTransfer.files]) } })

  // Enter sends and Shift+Enter breaks; the switch beside the composer (kept by this browser) or a touch keyboard make Enter break; Ctrl/Cmd+Enter always sends
  const touch = () => matchMedia('(pointer: coarse)').matches, breaks = f => touch() || (store('enter') || f.dataset.enter) === 'break'
  const keys = () => document.querySelectorAll('[data-enter-switch]').forEach(b => {
    const f = b.form || mine, on = !!f && breaks(f)
    b.hidden = touch(); b.ariaPressed = on; b.textContent = on ? b.dataset.breaks : b.dataset.sends
  })
  on('click', e => { const b = e.target.closest?.('[data-enter-switch]'); if (b) { store('enter', breaks(b.form || mine) ? 'send' : 'break'); keys() } })
  const grow = t => { if (!CSS.supports('field-sizing', 'content')) { t.style.height = 'auto'; t.style.height = t.scrollHeight + 'px' } }
  on('input', e => { if (composer(e) && e.target.localName === 'textarea') grow(e.target) })
  // an Enter that ends a composition (of Japanese, say) chooses a word; Safari says so only by the old key code, and after the composition has ended
  let composed = -1e3; on('compositionend', e => composed = e.timeStamp)
  on('keydown', e => {
    const f = composer(e), t = e.target; if (!f || e.key !== 'Enter' || t.localName !== 'textarea') return
    if (e.isComposing || e.keyCode === 229 || e.timeStamp - composed < 30) return
    if (e.ctrlKey || e.metaKey || breaks(f) === e.shiftKey) { e.preventDefault(); if (t.value.trim() || files(f).length) f.requestSubmit() }
  })

  // what was written and is stored nowhere else: kept by this tab until it is sent, for its writer only, by whom it is for
  const draft = f => f?.dataset.writer && ['draft', f.dataset.writer, f.elements.agent?.value, f.elements.conversation?.value].join(':')
  const keep = (k, text) => k && store(k, text, 'sessionStorage'), kept = k => k && store(k, undefined, 'sessionStorage')
  const back = f => { const t = $('textarea', f), text = kept(draft(f)); if (text) { t.value ||= text; grow(t) } }
  on('input', e => { const f = composer(e), k = f && e.target.localName === 'textarea' && draft(f); if (kept(k)) keep(k, e.target.value) })

  // what is on its way: kept until its answer is here, with its key. A page that is loaded meanwhile and does not show it sends it again: it is the same turn, wherever the first try is
  const sent = f => draft(f)?.replace('draft', 'sent')
  const found = f => {
    const was = kept(sent(f)), k = draft(f); if (!was) return
    keep(sent(f), ''); const { said, key, at, more, done } = JSON.parse(was), t = $('textarea', f)
    if (done && Date.now() - done > 5e3) return // this page was made after it; else it may have been made just before
    if ((t.value || kept(k) || said) !== said) return // it was written anew
    keep(k, ''); const here = [...document.querySelectorAll('.message.user > .text')].some(m => m.textContent.trim() === said.trim())
    const go = () => { // not before the browser has put back what stood in the form
      t.value = here ? '' : said; if (!here) f.elements.key.value = key; grow(t)
      if (!here && !more && Date.now() - at < 12e4) resend(f) // files are with the page that is gone
    }
    loaded(go)
  }
  const resend = f => { // by htmx only: a form that posts by itself would leave the page
    const go = () => { f.addEventListener('submit', e => e.preventDefault(), { once: true }); f.requestSubmit() }
    'htmxPowered' in f.dataset ? go() : f.addEventListener('htmx:after:init', go, { once: true })
  }
  const loaded = go => document.readyState === 'complete' ? go() : addEventListener('load', go)
  const twice = f => loaded(() => { // the browser puts back what stood in the form; what is being answered is not written again
    const t = $('textarea', f), last = [...document.querySelectorAll('.message.user > .text')].at(-1)
    if ($('#running') && t.value && t.value.trim() === last?.textContent.trim()) { t.value = ''; keep(draft(f), ''); grow(t) }
  })

  // a new chat gets its address before its first message is sent: whoever loads the page again is in it
  const begin = async (f, body) => {
    const talk = f.elements.conversation; if (!f.dataset.begin || talk.value) return
    try {
      const r = await fetch(f.dataset.begin, { method: 'POST', body: new URLSearchParams({ agent: f.elements.agent.value }), signal: AbortSignal.timeout(5000) })
      if (r.status !== 200) return
      const { id, path } = await r.json(); talk.value = id; body.set('conversation', id); history.replaceState(history.state, '', path)
    } catch { } // then the message begins it
  }

  // a message on its way: shown at once; the working line; the scroll sticks to the end only at the end, and a long answer is shown from its start
  let stick, first, again, shown
  const clear = () => $('#trouble')?.replaceChildren()
  const atEnd = () => root.scrollHeight - innerHeight - scrollY < 96, toEnd = () => scrollTo(0, root.scrollHeight)
  const replies = () => document.querySelectorAll('#messages > .message.agent')
  const toAnswer = () => { const m = [...replies()].at(-1); m ? scrollTo(0, Math.min(root.scrollHeight - innerHeight, m.getBoundingClientRect().top + scrollY - 72)) : toEnd() }
  const since = s => { if (s) { s.textContent = '0 s'; s.dataset.elapsed = new Date().toISOString() } }
  const still = on => document.querySelectorAll('.working [data-still]').forEach(s => s.hidden = !on)
  const inPlace = card => { const w = $('[data-working]')?.cloneNode(true); if (w) { delete w.dataset.working; w.hidden = false; $('[data-still]', w)?.setAttribute('hidden', ''); since($('span', w)); card.before(w) } return w }
  const working = on => document.querySelectorAll('[data-working]').forEach(w => { w.hidden = !on; if (on) since($('span', w)) })
  const fine = c => c.response?.status < 400 || c.response?.headers.get('x-message-kept')
  on('submit', e => {
    const f = composer(e), d = f?.dataset, all = f ? files(f) : [], bytes = all.reduce((n, g) => n + g.size, 0)
    const stop = (title, text) => { e.preventDefault(); e.stopImmediatePropagation(); trouble(title, text) }
    if (+d?.most && bytes > +d.most) stop(d.mostTitle, d.mostText.replace('{size}', size(bytes)))
    else if (+d?.files && all.length > +d.files) stop(d.mostTitle, d.filesText)
  }, true)
  on('busy', e => composer(e) && still(true)) // pressed again while it is on its way
  on('htmx:error', e => { // no answer at all: said where the answer would stand, and not above the button that sends
    const c = e.detail.ctx, f = c?.sourceElement, d = mine?.dataset, card = f?.closest?.('.denial'); if (!d?.lost || !f?.matches?.('[data-composer], [data-again]')) return
    e.stopImmediatePropagation(); c.arrived?.()
    if (card) return card.append(make('p', { className: 'error', role: 'alert', textContent: d.lost + '.' }))
    const b = make('button', { className: 'button', textContent: d.retry }); b.setAttribute('form', f.id)
    $('#trouble').replaceChildren(make('article', { className: 'denial failed' }, make('h3', { textContent: d.lost }), make('p', { textContent: d.lostText }), make('div', { className: 'actions' }, b))); toEnd()
  }, true)
  on('htmx:before:request', e => {
    const c = e.detail.ctx, f = c.sourceElement
    if (f?.matches?.('#earlier')) first = $('#messages > .message, #messages > .denial')
    if (f?.matches?.('form[data-again]')) {
      const card = f.closest('.denial'); $('.error', card)?.remove(); card.hidden = again = true; clear()
      const line = inPlace(card)
      c.arrived = () => { c.arrived = null; card.hidden = false; line?.remove() }
    }
    if (!f?.matches?.('form[data-composer]')) return
    const t = $('textarea', f), k = draft(f), said = t.value, all = files(f), send = c.fetch
    const note = { said, key: f.elements.key.value, at: Date.now(), more: all.length }, mark = more => keep(sent(f), JSON.stringify({ ...note, ...more }))
    c.fetch = async (url, request) => { await begin(f, request.body); mark(); return send(url, request) }
    const bubble = make('div', { className: 'message user pending' }, make('h2', { className: 'sr', textContent: f.dataset.you || '' }), make('div', { className: 'text', dir: 'auto', textContent: [said, ...all.map(g => g.name)].filter(Boolean).join('\n') }))
    clear(); $('.messages')?.append(bubble); t.value = ''; grow(t); if (all.length) put(f, [])
    still(false); working(true); toEnd()
    c.arrived = () => {
      c.arrived = null; bubble.remove(); working(false); if (c.response) fine(c) ? mark({ done: Date.now() }) : keep(sent(f), ''); if (fine(c)) return keep(k, '')
      t.value = [said, t.value].filter(Boolean).join('\n'); grow(t); if (all.length) put(f, [...all, ...files(f)]); keep(draft(f), t.value)
    }
  })
  on('htmx:before:swap', e => { stick = $('.messages') && atEnd() && !first; shown = replies().length; e.detail.ctx?.arrived?.(); if (first) first.was = first.getBoundingClientRect().top })
  on('htmx:after:swap', () => {
    if (first) { // earlier messages stand above: what one was reading stays where it is, and reading goes on from there
      scrollBy({ top: first.getBoundingClientRect().top - first.was, behavior: 'instant' })
      const to = $('#earlier') || $('#messages > .message'); if (to) { if (to.id !== 'earlier') to.setAttribute('tabindex', -1); to.focus({ preventScroll: true }) }
      first = null
    } else if (stick) replies().length > shown ? toAnswer() : toEnd()
    if (again) { again = false; mine && $('textarea', mine).focus({ preventScroll: true }) } // the button that had the focus is gone
  })
  on('htmx:finally:request', e => { e.detail.ctx.arrived?.(); first = null })
  keys(); if (mine) { found(mine); back(mine); twice(mine); if (picker(mine)?.files.length) put(mine, picker(mine).files) }
  if (!location.hash && $('.messages[data-end]')) $('#messages > :last-child')?.matches('.message.agent') ? toAnswer() : toEnd()
})()
