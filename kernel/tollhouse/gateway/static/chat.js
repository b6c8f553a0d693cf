// Tollhouse: the composer. Only on chat pages, after tollhouse.js, with defer. Without it the form posts as any other.
(() => {
  const $ = (s, e = document) => e.querySelector(s), on = (name, fn, capture) => document.addEventListener(name, fn, capture), root = document.documentElement
  const make = (tag, props, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids); return e }
  const store = (k, v, where = 'localStorage') => { try { const s = window[where]; return v === undefined ? s.getItem(k) : v ? s.setItem(k, v) : s.removeItem(k) } catch { } }
  const composer = e => e.target.closest?.('form[data-composer]'), picker = f => $('input[type=file]', f), mine = $('form[data-composer]')

  // attachments: chips with size and a remove button; also by paste and drop
  const size = n => n < 999500 ? Math.max(1, Math.round(n / 1e3)) + ' kB' : (n / 1e6).toFixed(1) + ' MB'
  const put = (f, files) => { const t = new DataTransfer; for (const g of files) t.items.add(g); picker(f).files = t.files; chips(f) }
  const add = (f, files) => picker(f) && files.length && put(f, [...picker(f).files, ...files])
  const chips = f => $('[data-chips]', f)?.replaceChildren(...[...picker(f).files].map((file, n, all) => {
    const x = make('button', { type: 'button', textContent: '×', ariaLabel: 'Remove ' + file.name, onclick: () => { put(f, all.toSpliced(n, 1)); $('textarea', f).focus() } })
    return make('span', { className: 'attachment' }, make('span', { className: 'name', textContent: file.name }), make('span', { className: 'size', textContent: size(file.size) }), x)
  }))
  on('change', e => { const f = composer(e); if (f && e.target === picker(f)) chips(f) })
  on('paste', e => { const f = composer(e); if (f && e.clipboardData.files.length) { e.preventDefault(); add(f, e.clipboardData.files) } })
  on('dragover', e => { const f = composer(e); if (f && picker(f)) { e.preventDefault(); f.classList.add('dropping') } })
  on('dragleave', e => composer(e)?.classList.remove('dropping'))
  on('drop', e => { const f = composer(e); if (f && picker(f)) { e.preventDefault(); f.classList.remove('dropping'); add(f, e.dataTransfer.files) } })

  // Enter sends and Shift+Enter breaks; the switch beside the composer (kept by this browser) or a touch keyboard make Enter break; Ctrl/Cmd+Enter always sends
  const touch = () => matchMedia('(pointer: coarse)').matches, breaks = f => touch() || (store('enter') || f.dataset.enter) === 'break'
  const keys = () => document.querySelectorAll('[data-enter-switch]').forEach(b => {
    const f = b.form || mine, on = !!f && breaks(f)
    b.hidden = touch(); b.ariaPressed = on; b.textContent = on ? b.dataset.breaks : b.dataset.sends
  })
  on('click', e => { const b = e.target.closest?.('[data-enter-switch]'); if (b) { store('enter', breaks(b.form || mine) ? 'send' : 'break'); keys() } })
  const grow = t => { if (!CSS.supports('field-sizing', 'content')) { t.style.height = 'auto'; t.style.height = t.scrollHeight + 'px' } }
  on('input', e => { if (composer(e) && e.target.localName === 'textarea') grow(e.target) })
  on('keydown', e => {
    const f = composer(e), t = e.target; if (!f || e.key !== 'Enter' || e.isComposing || t.localName !== 'textarea') return
    if (e.ctrlKey || e.metaKey || breaks(f) === e.shiftKey) { e.preventDefault(); if (t.value.trim() || picker(f)?.files.length) f.requestSubmit() }
  })

  // what was written and is stored nowhere else: kept by this tab until it is sent, for its writer only, by whom it is for
  const draft = f => f?.dataset.writer && ['draft', f.dataset.writer, f.elements.agent?.value, f.elements.conversation?.value].join(':')
  const keep = (k, text) => k && store(k, text, 'sessionStorage'), kept = k => k && store(k, undefined, 'sessionStorage')
  const back = f => { const t = $('textarea', f), text = kept(draft(f)); if (text) { t.value ||= text; grow(t) } }
  on('input', e => { const f = composer(e), k = f && e.target.localName === 'textarea' && draft(f); if (kept(k)) keep(k, e.target.value) })

  // a message on its way: shown at once, kept until the server has it; the working line; the scroll sticks to the end only at the end
  let stick, first, again
  const clear = () => $('#trouble')?.replaceChildren()
  const atEnd = () => root.scrollHeight - innerHeight - scrollY < 96, toEnd = () => scrollTo(0, root.scrollHeight)
  const since = s => { if (s) { s.textContent = '0 s'; s.dataset.elapsed = new Date().toISOString() } }
  const still = on => document.querySelectorAll('.working [data-still]').forEach(s => s.hidden = !on)
  const inPlace = card => { const w = $('[data-working]')?.cloneNode(true); if (w) { delete w.dataset.working; w.hidden = false; $('[data-still]', w)?.setAttribute('hidden', ''); since($('span', w)); card.before(w) } return w }
  const working = on => document.querySelectorAll('[data-working]').forEach(w => { w.hidden = !on; if (on) since($('span', w)) })
  const fine = c => c.response?.status < 400 || c.response?.headers.get('x-message-kept')
  on('submit', e => { // files that the server would refuse are refused before they travel
    const f = composer(e), most = +f?.dataset.most, all = [...picker(f || document)?.files || []].reduce((n, g) => n + g.size, 0)
    if (!f || !most || all <= most) return
    e.preventDefault(); e.stopImmediatePropagation()
    $('#trouble').replaceChildren(make('article', { className: 'denial failed' }, make('h3', { textContent: f.dataset.mostTitle }), make('p', { textContent: f.dataset.mostText.replace('{size}', size(all)) }))); toEnd()
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
    const t = $('textarea', f), k = draft(f), said = t.value, files = [...picker(f)?.files || []]
    const bubble = make('div', { className: 'message user pending' }, make('h2', { className: 'sr', textContent: f.dataset.you || '' }), make('div', { className: 'text', textContent: [said, ...files.map(g => g.name)].filter(Boolean).join('\n') }))
    clear(); $('.messages')?.append(bubble); t.value = ''; grow(t); if (files.length) put(f, [])
    still(false); working(true); toEnd()
    c.arrived = () => {
      c.arrived = null; bubble.remove(); working(false); if (fine(c)) return keep(k, '')
      t.value = [said, t.value].filter(Boolean).join('\n'); grow(t); add(f, files); keep(k, t.value)
    }
  })
  on('htmx:before:swap', e => { stick = $('.messages') && atEnd() && !first; e.detail.ctx?.arrived?.(); if (first) first.was = first.getBoundingClientRect().top })
  on('htmx:after:swap', () => {
    if (first) { // earlier messages stand above: what one was reading stays where it is, and reading goes on from there
      scrollBy({ top: first.getBoundingClientRect().top - first.was, behavior: 'instant' })
      const to = $('#earlier') || $('#messages > .message'); if (to) { if (to.id !== 'earlier') to.setAttribute('tabindex', -1); to.focus({ preventScroll: true }) }
      first = null
    } else if (stick) toEnd()
    if (again) { again = false; mine && $('textarea', mine).focus({ preventScroll: true }) } // the button that had the focus is gone
  })
  on('htmx:finally:request', e => { e.detail.ctx.arrived?.(); first = null })
  keys(); if (mine) back(mine)
  if (!location.hash && $('.messages[data-end]')) toEnd()
})()
