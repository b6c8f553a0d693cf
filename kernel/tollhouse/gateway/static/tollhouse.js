// Loaded in <head> without defer: the theme is set before the first paint. Listeners are delegated; pages work without it.
(() => {
  const root = document.documentElement, $ = (s, e = document) => e.querySelector(s), $$ = (s, e = document) => [...e.querySelectorAll(s)]
  const on = (name, fn, capture) => document.addEventListener(name, fn, capture)
  const make = (tag, props, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids); return e }
  const store = (k, v) => { try { return v === undefined ? localStorage.getItem(k) : v ? localStorage.setItem(k, v) : localStorage.removeItem(k) } catch { } }
  const lang = root.lang === 'en' ? 'en-GB' : root.lang || undefined // "4 Jan 2026": plain English has the American order, which others misread
  root.classList.add('js')

  // theme: light, dark or (nothing stored) the system's
  const theme = t => { t ? root.dataset.theme = t : delete root.dataset.theme; $$('[data-theme-set]').forEach(b => b.ariaPressed = b.dataset.themeSet === (t || 'auto')) }
  theme(store('theme'))

  // times and elapsed seconds
  const steps = [['year', 31536e3], ['month', 2592e3], ['day', 86400], ['hour', 3600], ['minute', 60]]
  const times = () => $$('time[datetime]').forEach(t => {
    const d = new Date(t.dateTime); if (isNaN(d)) return
    const full = d.toLocaleString(lang, { dateStyle: 'medium', timeStyle: 'short' })
    if ('relative' in t.dataset) {
      const s = (d - Date.now()) / 1e3, [unit, n] = steps.find(([, n]) => Math.abs(s) >= n) || ['second', 1e9]
      t.textContent = new Intl.RelativeTimeFormat(lang, { numeric: 'auto' }).format(Math.trunc(s / n), unit); t.title = full
    } else if ('local' in t.dataset) { t.title ||= t.textContent.trim(); t.textContent = full }
  })
  const tick = () => $$('[data-elapsed]').forEach(e => { const s = Math.max(0, (Date.now() - new Date(e.dataset.elapsed)) / 1e3 | 0); e.textContent = (s < 60 ? '' : (s / 60 | 0) + ' min ') + s % 60 + ' s' })
  setInterval(tick, 1000); setInterval(times, 3e4)

  // toasts
  const age = t => { if (!t.dataset.aged) { t.dataset.aged = 1; if (!t.matches('.bad')) setTimeout(() => t.remove(), 6000) } }
  const toast = (text, kind = '') => {
    const box = $('.toasts') || document.body.appendChild(make('div', { className: 'toasts', role: 'status' }))
    const close = make('button', { type: 'button', className: 'button plain square compact', textContent: '×', ariaLabel: 'Dismiss' }); close.dataset.dismiss = ''
    const t = make('div', { className: 'toast ' + kind }, make('span', { textContent: text }), close); box.append(t); age(t)
  }
  on('toast', e => toast(e.detail.text ?? e.detail.value, e.detail.kind))

  // confirm by a native dialog
  const ask = (el, text) => new Promise(done => {
    const d = el.dataset, ok = make('button', { value: 'ok', className: 'button primary' + (d.confirmPlain == null ? ' danger' : ''), textContent: d.confirmOk || 'Continue' })
    const form = make('form', { method: 'dialog' }, make('h2', { id: 'ask-title', textContent: d.confirmTitle || 'Are you sure?' }), make('p', { id: 'ask-text', textContent: text }))
    if (d.confirmName) { const i = make('input', { autocomplete: 'off', oninput() { ok.disabled = i.value !== d.confirmName } }); ok.disabled = true; form.append(make('label', { className: 'field' }, `Type “${d.confirmName}” to confirm`, i)) }
    form.append(make('div', { className: 'actions' }, make('button', { value: '', className: 'button', textContent: d.confirmCancel || 'Cancel' }), ok))
    const box = make('dialog', { onclose() { box.remove(); done(box.returnValue === 'ok') } }, form); box.setAttribute('aria-labelledby', 'ask-title'); box.setAttribute('aria-describedby', 'ask-text'); document.body.append(box); box.showModal()
  })
  on('htmx:confirm', e => { e.preventDefault(); const c = e.detail.ctx; ask(c.sourceElement, c.confirm).then(y => y ? e.detail.issueRequest() : e.detail.dropRequest()) })

  // submit: confirm, then send once
  const sure = new WeakSet
  on('submit', e => {
    const f = e.target, by = e.submitter, el = by?.dataset.confirm ? by : f, stop = () => { e.preventDefault(); e.stopImmediatePropagation() }
    if (f.ariaBusy === 'true') { stop(); f.dispatchEvent(new Event('busy', { bubbles: true })); return }
    if (el.dataset.confirm && !sure.delete(f)) { stop(); ask(el, el.dataset.confirm).then(y => { if (y) { sure.add(f); f.requestSubmit(by) } }) }
  }, true)
  on('submit', e => { const f = e.target; if (!e.defaultPrevented && f.method === 'post') { f.ariaBusy = 'true'; setTimeout(() => f.ariaBusy = null, 15000) } })
  on('submit', e => { if (/\/(logout|sign-out)$/.test(e.target.action)) try { sessionStorage.clear() } catch { } }) // what was written stays with its writer
  addEventListener('pageshow', () => $$('form[aria-busy]').forEach(f => f.ariaBusy = null))

  // htmx
  on('htmx:before:request', e => { const c = e.detail.ctx; if (c.request.method !== 'GET' && c.sourceElement.matches('form')) c.sourceElement.ariaBusy = 'true' })
  on('htmx:finally:request', e => { e.detail.ctx.sourceElement.ariaBusy = null })
  on('htmx:after:swap', () => start())
  on('htmx:error', e => { if (e.detail.ctx) toast('The server could not be reached. What you wrote is kept; try again.', 'bad') })

  // clicks
  on('click', e => {
    const b = e.target.closest('button, a, summary'), d = b?.dataset || {}
    $$('details.menu[open]').forEach(m => { if (!m.contains(e.target) || b && b.localName !== 'summary') m.open = false })
    if (!b) return
    if ('copy' in d) { const from = d.copy ? $(d.copy) : $('pre', b.closest('.code')); navigator.clipboard?.writeText(from.value ?? from.content?.textContent ?? (from.localName === 'pre' ? from.textContent : from.textContent.trim())).then(() => { const was = [...b.childNodes]; b.replaceChildren('Copied'); setTimeout(() => b.replaceChildren(...was), 1500) }) }
    if ('dismiss' in d) b.closest('.toast, .notice, dialog')?.remove()
    if (d.themeSet) { const t = d.themeSet === 'auto' ? '' : d.themeSet; store('theme', t); theme(t) }
    if (d.dialog) $(d.dialog)?.showModal()
    if (b.localName === 'a') b.closest('.side:popover-open')?.hidePopover()
  })
  on('keydown', e => { if (e.key === 'Escape') $$('details.menu[open]').forEach(m => { m.open = false; $('summary', m).focus() }) })

  const start = () => { theme(store('theme')); times(); tick(); $$('.toast').forEach(age) }
  on('DOMContentLoaded', start)
})()
