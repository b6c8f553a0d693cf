// Tollhouse: the composer. Only on chat pages, after tollhouse.js, with defer. Without it the form posts as any other.
(() => {
  const $ = (s, e = document) => e.querySelector(s), on = (name, fn) => document.addEventListener(name, fn), root = document.documentElement
  const make = (tag, props, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids); return e }
  const composer = e => e.target.closest?.('form[data-composer]'), picker = f => $('input[type=file]', f)

  // attachments: chips with size and a remove button; also by paste and drop
  const put = (f, files) => { const t = new DataTransfer; for (const g of files) t.items.add(g); picker(f).files = t.files; chips(f) }
  const add = (f, files) => picker(f) && files.length && put(f, [...picker(f).files, ...files])
  const chips = f => $('[data-chips]', f)?.replaceChildren(...[...picker(f).files].map((file, n, all) => {
    const x = make('button', { type: 'button', textContent: '×', ariaLabel: 'Remove ' + file.name, onclick: () => { put(f, all.toSpliced(n, 1)); $('textarea', f).focus() } })
    return make('span', { className: 'attachment' }, make('span', { className: 'name', textContent: file.name }), make('span', { className: 'size', textContent: file.size < 1e6 ? Math.ceil(file.size / 1e3) + ' kB' : (file.size / 1e6).toFixed(1) + ' MB' }), x)
  }))
  on('change', e => { const f = composer(e); if (f && e.target === picker(f)) chips(f) })
  on('paste', e => { const f = composer(e); if (f && e.clipboardData.files.length) { e.preventDefault(); add(f, e.clipboardData.files) } })
  on('dragover', e => { const f = composer(e); if (f && picker(f)) { e.preventDefault(); f.classList.add('dropping') } })
  on('dragleave', e => composer(e)?.classList.remove('dropping'))
  on('drop', e => { const f = composer(e); if (f && picker(f)) { e.preventDefault(); f.classList.remove('dropping'); add(f, e.dataTransfer.files) } })

  // Enter sends and Shift+Enter breaks; data-enter="break" (and a touch keyboard) swaps them; Ctrl/Cmd+Enter always sends
  const grow = t => { if (!CSS.supports('field-sizing', 'content')) { t.style.height = 'auto'; t.style.height = t.scrollHeight + 'px' } }
  on('input', e => { if (composer(e) && e.target.localName === 'textarea') grow(e.target) })
  on('keydown', e => {
    const f = composer(e), t = e.target; if (!f || e.key !== 'Enter' || e.isComposing || t.localName !== 'textarea') return
    const breaks = f.dataset.enter === 'break' || matchMedia('(pointer: coarse)').matches
    if (e.ctrlKey || e.metaKey || breaks === e.shiftKey) { e.preventDefault(); if (t.value.trim() || picker(f)?.files.length) f.requestSubmit() }
  })

  // a message on its way: shown at once, kept until the server has it; the working line; the scroll sticks to the end only at the end
  let stick
  const atEnd = () => root.scrollHeight - innerHeight - scrollY < 96, toEnd = () => scrollTo(0, root.scrollHeight)
  const working = on => document.querySelectorAll('[data-working]').forEach(w => { w.hidden = !on; const s = $('span', w); if (s && on) { s.textContent = '0 s'; s.dataset.elapsed = new Date().toISOString() } })
  on('htmx:before:request', e => {
    const c = e.detail.ctx, f = c.sourceElement; if (!f?.matches?.('form[data-composer]')) return
    const t = $('textarea', f), said = t.value, files = [...picker(f)?.files || []]
    const bubble = make('div', { className: 'message user pending' }, make('div', { className: 'text', textContent: [said, ...files.map(g => g.name)].filter(Boolean).join('\n') }))
    $('.messages')?.append(bubble); t.value = ''; grow(t); if (files.length) put(f, [])
    working(true); toEnd()
    c.arrived = () => { c.arrived = null; bubble.remove(); working(false); if (!(c.response?.status < 400)) { t.value = [said, t.value].filter(Boolean).join('\n'); grow(t); add(f, files) } }
  })
  on('htmx:before:swap', e => { stick = $('.messages') && atEnd(); e.detail.ctx?.arrived?.() })
  on('htmx:after:swap', () => { if (stick) toEnd() })
  on('htmx:finally:request', e => e.detail.ctx.arrived?.())
  if (!location.hash && $('.messages[data-end]')) toEnd()
})()
