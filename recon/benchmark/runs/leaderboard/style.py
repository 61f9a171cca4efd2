"""What the leaderboard adds to the report's style sheet, and its script."""

CSS = """
main { max-width:1240px; }
h2 small { font-weight:400; color:var(--soft); }
table.sortable th { cursor:pointer; user-select:none; position:sticky; top:0; background:var(--card); }
table.sortable :is(th, td):first-child { position:sticky; left:0; z-index:1; background:var(--card); }
table.sortable th:focus-visible { outline:2px solid var(--accent); }
table.sortable th::after { content:"\\2195"; opacity:.3; margin-left:.3em; font-weight:400; }
table.sortable th[aria-sort=ascending]::after { content:"\\2191"; opacity:1; }
table.sortable th[aria-sort=descending]::after { content:"\\2193"; opacity:1; }
td.best { font-weight:700; color:var(--ok); }
td i.dot, .legend i { display:inline-block; width:.7em; height:.7em; border-radius:50%; margin-right:.45em; }
.legend { display:flex; flex-wrap:wrap; gap:.2rem 1.1rem; font-size:.9rem; margin:.4rem 0 0; }
.wipe { position:relative; display:block; border-radius:8px; overflow:hidden; background:#000; touch-action:pan-y; }
.wipe img { width:100%; height:auto; display:block; }
.wipe img.over { position:absolute; inset:0; clip-path:inset(0 calc(100% - var(--at,50%)) 0 0); }
.wipe::after { content:""; position:absolute; top:0; bottom:0; left:var(--at,50%); width:2px; margin-left:-1px;
  background:#fff; box-shadow:0 0 3px #000; pointer-events:none; }
.view { display:grid; gap:14px; grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr)); align-items:start; }
.view + .view { margin-top:16px; }
.view .errors { display:grid; gap:8px; grid-template-columns:repeat(auto-fill,minmax(min(46%,210px),1fr)); }
.choose { display:flex; flex-wrap:wrap; gap:.4rem .6rem; align-items:center; font-size:.9rem; margin:.3rem 0; }
select { font:inherit; color:inherit; background:var(--bg); border:1px solid var(--line); border-radius:8px;
  padding:.25rem .4rem; max-width:46%; }
input[type=range] { width:100%; margin:.3rem 0; accent-color:var(--accent); }
"""

SCRIPT = """
const pictures = JSON.parse(document.getElementById('pictures').textContent);
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const up = head.getAttribute('aria-sort') === 'descending' ||
        (!head.hasAttribute('aria-sort') && head.dataset.first === 'ascending');
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const rows = [...table.tBodies[0].rows];
      const value = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const missing = v => v === '' ? 1 : 0;
      rows.sort((a, b) => {
        const x = value(a), y = value(b);
        if (missing(x) !== missing(y)) return missing(x) - missing(y);
        const order = head.classList.contains('num') ? Number(x) - Number(y) : x.localeCompare(y);
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    };
    head.tabIndex = 0;
    head.addEventListener('click', sort);
    head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(); });
  });
}
for (const view of document.querySelectorAll('.view')) {
  const wipe = view.querySelector('.wipe'), range = view.querySelector('input');
  const [left, right] = view.querySelectorAll('select');
  const show = () => {
    wipe.querySelector('.over').src = pictures[left.value];
    wipe.querySelector('.under').src = pictures[right.value];
  };
  const move = share => {
    range.value = 100 * Math.min(1, Math.max(0, share));
    wipe.style.setProperty('--at', range.value + '%');
  };
  const follow = event => {
    const box = wipe.getBoundingClientRect();
    if (event.buttons || event.pointerType === 'mouse') move((event.clientX - box.left) / box.width);
  };
  wipe.addEventListener('pointermove', follow);
  wipe.addEventListener('pointerdown', follow);
  range.addEventListener('input', () => move(range.value / 100));
  left.addEventListener('change', show);
  right.addEventListener('change', show);
  show();
}
"""
