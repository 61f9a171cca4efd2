"""The report's style sheet: one column on a phone, light or dark as the system is."""

CSS = """
:root { --bg:#f6f7f9; --card:#fff; --ink:#111827; --soft:#5b6472; --line:#e3e6eb; --accent:#2563eb;
  --ok:#15803d; --low:#b45309; --bad:#b91c1c; --bar:#93c5fd; }
@media (prefers-color-scheme: dark) { :root { --bg:#0b1020; --card:#131a2c; --ink:#e8ecf4; --soft:#9aa5b8;
  --line:#263047; --accent:#7db0ff; --ok:#4ade80; --low:#fbbf24; --bad:#f87171; --bar:#2f5fae; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--bg); color:var(--ink); font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif; }
main { max-width:1080px; margin:0 auto; padding:16px; }
h1 { font-size:1.7rem; margin:.2rem 0; line-height:1.2; overflow-wrap:anywhere; }
h2 { font-size:1.2rem; margin:2.2rem 0 .6rem; }
p { margin:.4rem 0; max-width:70ch; }
.soft, figcaption, td.soft { color:var(--soft); }
.verdict { font-size:1.1rem; }
.hero { display:flex; flex-wrap:wrap; gap:12px; margin:1rem 0; align-items:center; }
.hero > * { border-radius:14px; display:block; min-width:0; max-width:100%; height:auto; max-height:72vh; }
.hero .main { flex:0 1 auto; background:#000; object-fit:contain; }
.hero .side { flex:1 1 300px; background:#111827; object-fit:contain; }
.grid { display:grid; gap:12px; grid-template-columns:repeat(auto-fill,minmax(min(46%,220px),1fr)); }
.row { display:grid; gap:8px; grid-template-columns:repeat(auto-fit,minmax(min(46%,180px),1fr)); }
.wide { display:grid; gap:12px; grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr)); }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:10px; overflow:hidden; }
.card + .card.stack { margin-top:12px; }
figure { margin:0; } figure img { width:100%; height:auto; display:block; border-radius:8px; }
figcaption { font-size:.85rem; margin-top:4px; overflow-wrap:anywhere; }
.tag { display:inline-block; padding:0 .55em; border-radius:999px; font-size:.8rem; font-weight:600;
  border:1px solid currentColor; }
.ok { color:var(--ok); } .low { color:var(--low); } .unregistered { color:var(--bad); } .held { color:var(--accent); }
.meter { height:6px; border-radius:3px; background:var(--line); margin:6px 0; }
.meter i { display:block; height:100%; border-radius:3px; background:var(--accent); }
.notice { border-left:4px solid var(--low); padding:.5rem .8rem; background:var(--card); border-radius:0 8px 8px 0;
  margin:.6rem 0; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:.92rem; }
th, td { text-align:left; padding:.35rem .6rem; border-bottom:1px solid var(--line); white-space:nowrap; }
td.num, th.num { text-align:right; font-variant-numeric:tabular-nums; }
td.bar { width:40%; min-width:90px; } td.bar i { display:block; height:10px; border-radius:4px; background:var(--bar); }
pre, code { font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,monospace; }
pre { overflow-x:auto; background:var(--card); border:1px solid var(--line); border-radius:10px; padding:12px;
  margin:.5rem 0; }
details summary { cursor:pointer; font-weight:600; margin:.6rem 0; }
svg.curve { width:100%; height:auto; display:block; }
svg .line { fill:none; stroke:var(--accent); stroke-width:2; } svg .axis { stroke:var(--line); }
svg text { fill:var(--soft); font-size:12px; }
"""
