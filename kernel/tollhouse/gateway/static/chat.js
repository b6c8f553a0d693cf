// Tollhouse: the composer. Only on chat pages, after tollhouse.js, with defer. Without it the form posts as any other.
(() => {
  const $ = (s, e = document) => e.querySelector(s), on = (name, fn, capture) => document.addEventListener(name, fn, capture), root = document.documentElement
  const make = (tag, props, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids); return e }
  const store = (k, v, where = 'localStorage') => { try { const s = window[where]; return v === undefined ? s.getItem(k) : v ? s.setItem(k, v) : s.removeItem(k) } catch { } }
  const composer = e => e.target.closest?.('form[data-composer]'), picker = f => $('input[type=file]', f), mine = $('form[data-composer]')

  // attachments: chips with size and a remove button; also by paste and drop
  const size = n => n < 1e6 ? Math.ceil(n / 1e3) + ' kB' : (n / 1e6).toFixed(1) + ' MB'
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

  // what was written when a session ended: kept by this tab for the way through the sign-in, for its writer only
  const draft = f => f?.dataset.writer && 'draft:' + f.dataset.writer + ':' + location.pathname + location.search
  const keep = f => { const k = draft(f), text = $('textarea', f).value; if (k && text) store(k, text, 'sessionStorage') }
  const back = f => { const k = draft(f), text = k && store(k, undefined, 'sessionStorage'); if (text) { store(k, '', 'sessionStorage'); const t = $('textarea', f); t.value ||= text; grow(t) } }

  // a message on its way: shown at once, kept until the server has it; the working line; the scroll sticks to the end only at the end
  let stick, first, again
  const clear = () => $('#trouble')?.replaceChildren()
  const atEnd = () => root.scrollHeight - innerHeight - scrollY < 96, toEnd = () => scrollTo(0, root.scrollHeight)
  const working = on => document.querySelectorAll('[data-working]').forEach(w => { w.hidden = !on; const s = $('span', w); if (s && on) { s.textContent = '0 s'; s.dataset.elapsed = new Date().toISOString() } })
  const fine = c => c.response?.status < 400 || c.response?.headers.get('x-message-kept')
  on('submit', e => { // files that the server would refuse are refused before they travel
    const f = composer(e), most = +f?.dataset.most, all = [...picker(f || document)?.files || []].reduce((n, g) => n + g.size, 0)
    if (!f || !most || all <= most) return
    e.preventDefault(); e.stopImmediatePropagation()
    $('#trouble').replaceChildren(make('article', { className: 'denial failed' }, make('h3', { textContent: f.dataset.mostTitle }), make('p', { textContent: f.dataset.mostText.replace('{size}', size(all)) }))); toEnd()
  }, true)
  on('htmx:before:request', e => {
    const c = e.detail.ctx, f = c.sourceElement
    if (f?.matches?.('#earlier')) first = $('#messages > .message, #messages > .denial')
    if (f?.matches?.('form[data-again]')) {
      const card = f.closest('.denial'); card.hidden = again = true; clear(); working(true)
      c.arrived = () => { c.arrived = null; card.hidden = false; working(false) }
    }
    if (!f?.matches?.('form[data-composer]')) return
    const t = $('textarea', f), said = t.value, files = [...picker(f)?.files || []]
    const bubble = make('div', { className: 'message user pending' }, make('div', { className: 'text', textContent: [said, ...files.map(g => g.name)].filter(Boolean).join('\n') }))
    clear(); $('.messages')?.append(bubble); t.value = ''; grow(t); if (files.length) put(f, [])
    working(true); toEnd()
    c.arrived = () => {
      c.arrived = null; bubble.remove(); working(false); if (fine(c)) return
      t.value = [said, t.value].filter(Boolean).join('\n'); grow(t); add(f, files); if (c.response?.status === 401) keep(f)
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
