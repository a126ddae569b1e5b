// The network map: nodes on the globe (Equal Earth projection), or on a ring where nobody knows places.
(() => {
  const data = Chart.data("map-data");
  if (!data) return;
  const canvas = document.getElementById("map"), stage = canvas.parentElement, tip = document.getElementById("map-tip");
  let colours = Chart.palette();
  const WAYS = { profile: "Device class", role: "Role", nat: "NAT", alive: "Alive" };
  const count = data.node.length;
  let by = "profile", hidden = new Set(), zoom = 1, panX = 0, panY = 0, hover = -1, places = [];

  // B. Šavrič, T. Patterson, B. Jenny: The Equal Earth map projection, 2018. Gives about -2.7…2.7 and -1.32…1.32.
  const equalEarth = (longitude, latitude) => {
    const a1 = 1.340264, a2 = -0.081106, a3 = 0.000893, a4 = 0.003796, m = Math.sqrt(3) / 2;
    const t = Math.asin(m * Math.sin(latitude * Math.PI / 180)), t2 = t * t, t6 = t2 * t2 * t2;
    return [
      longitude * Math.PI / 180 * Math.cos(t) / (m * (a1 + 3 * a2 * t2 + t6 * (7 * a3 + 9 * a4 * t2))),
      -t * (a1 + a2 * t2 + t6 * (a3 + a4 * t2)),
    ];
  };

  // Nodes at one place lie on top of each other: each gets its number there, and is drawn on a spiral.
  const crowds = new Map(), rank = new Array(count).fill(0);
  if (data.world) {
    for (let i = 0; i < count; i++) {
      const key = data.x[i] + "," + data.y[i], before = crowds.get(key) || 0;
      rank[i] = before;
      crowds.set(key, before + 1);
    }
  }
  const crowd = Math.max(1, ...crowds.values());
  // On the ring: by number around it, the better connected the nearer to the middle.
  const order = [...Array(count).keys()].sort((a, b) => data.contacts[b] - data.contacts[a]);
  const inward = new Array(count);
  order.forEach((node, at) => { inward[node] = count > 1 ? at / (count - 1) : 1; });

  const place = (width, height) => {
    const scale = Math.min(width / 5.8, height / 2.74) * zoom, cx = width / 2 + panX, cy = height / 2 + panY;
    const spread = Math.min(3, 30 / Math.sqrt(crowd)) * Math.min(Math.sqrt(zoom) * (zoom > 1 ? 1.2 : 1), 5);
    places = new Array(count);
    for (let i = 0; i < count; i++) {
      if (data.world) {
        const [x, y] = equalEarth(data.x[i], data.y[i]), r = spread * Math.sqrt(rank[i]), a = rank[i] * 2.39996;
        places[i] = [cx + x * scale + r * Math.cos(a), cy + y * scale + r * Math.sin(a)];
      } else {
        const a = i / count * 2 * Math.PI - Math.PI / 2, r = scale * 1.28 * (0.5 + 0.5 * inward[i]);
        places[i] = [cx + r * Math.cos(a), cy + r * Math.sin(a)];
      }
    }
    return [scale, cx, cy];
  };

  const line = (context, points, scale, cx, cy) => {
    context.beginPath();
    points.forEach(([longitude, latitude], at) => {
      const [x, y] = equalEarth(longitude, latitude);
      context[at ? "lineTo" : "moveTo"](cx + x * scale, cy + y * scale);
    });
  };
  const range = (from, to, step) => Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, at) => from + at * step);
  const NAMES = [
    ["NORTH AMERICA", -103, 49], ["SOUTH AMERICA", -60, -14], ["EUROPE", 18, 57], ["AFRICA", 20, 7],
    ["ASIA", 95, 45], ["AUSTRALIA", 134, -25], ["PACIFIC", -150, 2], ["ATLANTIC", -32, 22], ["INDIAN OCEAN", 78, -28],
  ];

  const globe = (context, theme, scale, cx, cy) => {
    const edge = [...range(-90, 90, 3).map(l => [-180, l]), ...range(-90, 90, 3).map(l => [180, -l])];
    line(context, edge, scale, cx, cy);
    context.closePath();
    context.fillStyle = theme.sea;
    context.fill();
    context.strokeStyle = theme["sea-edge"];
    context.lineWidth = 1.2;
    context.stroke();
    context.lineWidth = 0.6;
    for (const longitude of range(-150, 150, 30)) {
      line(context, range(-90, 90, 3).map(l => [longitude, l]), scale, cx, cy);
      context.stroke();
    }
    for (const latitude of range(-60, 60, 30)) {
      line(context, range(-180, 180, 4).map(l => [l, latitude]), scale, cx, cy);
      context.lineWidth = latitude ? 0.6 : 1.1;
      context.stroke();
    }
    context.fillStyle = theme.soft;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.globalAlpha = 0.5;
    context.font = "600 10.5px system-ui, sans-serif";
    if ("letterSpacing" in context) context.letterSpacing = "3px";
    for (const [name, longitude, latitude] of NAMES) {
      const [x, y] = equalEarth(longitude, latitude);
      context.fillText(name, cx + x * scale, cy + y * scale);
    }
    if ("letterSpacing" in context) context.letterSpacing = "0px";
    context.font = "10px system-ui, sans-serif";
    context.textAlign = "right";
    for (const latitude of [-60, -30, 0, 30, 60]) {
      const [x, y] = equalEarth(-180, latitude);
      const name = latitude ? Math.abs(latitude) + "° " + (latitude > 0 ? "N" : "S") : "0°";
      context.fillText(name, cx + x * scale - 5, cy + y * scale);
    }
    context.globalAlpha = 1;
  };

  const ring = (context, theme, scale, cx, cy) => {
    context.lineWidth = 0.8;
    context.strokeStyle = theme["sea-edge"];
    context.fillStyle = theme.sea;
    context.beginPath();
    context.arc(cx, cy, scale * 1.32, 0, 7);
    context.fill();
    context.stroke();
    context.fillStyle = theme.card;
    context.beginPath();
    context.arc(cx, cy, scale * 0.6, 0, 7);
    context.fill();
    context.stroke();
    context.fillStyle = theme.soft;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "12.5px system-ui, sans-serif";
    context.fillText("around: number of the node", cx, cy - 10);
    context.fillText("inward: more contacts", cx, cy + 10);
  };

  // Shapes beside colours, so that classes are told apart without them.
  const shape = (context, kind, x, y, r) => {
    context.beginPath();
    if (kind === 0) context.arc(x, y, r, 0, 7);
    else if (kind === 1) context.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
    else {
      const corners = [0, 0, 3, 4, 3, 5, 6][kind % 7] || 3, turn = kind === 4 ? Math.PI : 0;
      for (let i = 0; i < corners; i++) {
        const a = turn - Math.PI / 2 + i * 2 * Math.PI / corners;
        context[i ? "lineTo" : "moveTo"](x + r * 1.25 * Math.cos(a), y + r * 1.25 * Math.sin(a));
      }
      context.closePath();
    }
  };
  const off = i => data.names.alive[data.codes.alive[i]] === "off";

  const draw = () => {
    colours = Chart.palette();
    const theme = Chart.theme(), width = canvas.clientWidth, height = Math.max(260, Math.min(600, width * 0.51));
    const context = Chart.fit(canvas, height);
    const [scale, cx, cy] = place(width, height);
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    (data.world ? globe : ring)(context, theme, scale, cx, cy);
    const radius = Math.min((count > 3000 ? 1.8 : count > 800 ? 2.4 : 3.4) * Math.min(Math.sqrt(zoom), 2.4), 7);
    const codes = data.codes[by];
    // The commonest first, so that rare ones lie on top.
    for (let code = 0; code < data.names[by].length; code++) {
      if (hidden.has(code)) continue;
      const colour = colours[code % colours.length];
      context.fillStyle = context.strokeStyle = colour;
      context.lineWidth = 1;
      for (let i = 0; i < count; i++) {
        if (codes[i] !== code) continue;
        const [x, y] = places[i];
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        shape(context, code % 7, x, y, radius);
        if (off(i)) { context.globalAlpha = 0.65; context.stroke(); } else { context.globalAlpha = 0.85; context.fill(); }
      }
    }
    context.globalAlpha = 1;
    if (hover >= 0) {
      context.strokeStyle = theme.ink;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(places[hover][0], places[hover][1], radius + 5, 0, 7);
      context.stroke();
    }
    context.restore();
  };
  const soon = Chart.whenever(draw);

  const name = (way, i) => data.names[way][data.codes[way][i]] || "–";
  const show = i => {
    hover = i;
    soon();
    if (i < 0) return Chart.hide(tip);
    const rows = [
      ["class", name("profile", i)], ["role", name("role", i)], ["NAT", name("nat", i)],
      ["state", off(i) ? "off at the end" : "alive"],
      ["contacts", Chart.number(data.contacts[i])], ["records", Chart.number(data.records[i])],
      ["sent", Chart.number(data.sent[i]) + " datagrams, " + Chart.bytes(data.bytes_sent[i])],
      ["received", Chart.number(data.received[i]) + " datagrams, " + Chart.bytes(data.bytes_received[i])],
    ];
    if (data.world) {
      rows.push(["place", Math.abs(data.y[i]).toFixed(1) + "° " + (data.y[i] < 0 ? "S" : "N") + ", "
        + Math.abs(data.x[i]).toFixed(1) + "° " + (data.x[i] < 0 ? "W" : "E")]);
    }
    Chart.tip(tip, stage, places[i][0], places[i][1], "node " + data.node[i], rows);
  };
  const nearest = (x, y) => {
    let best = -1, closest = 14 * 14;
    for (let i = 0; i < count; i++) {
      if (hidden.has(data.codes[by][i])) continue;
      const d = (places[i][0] - x) ** 2 + (places[i][1] - y) ** 2;
      if (d < closest) { closest = d; best = i; }
    }
    return best;
  };
  const zoomAt = (factor, x, y) => {
    const before = zoom;
    zoom = Math.max(1, Math.min(40, zoom * factor));
    const dx = x - canvas.clientWidth / 2, dy = y - canvas.clientHeight / 2;
    panX = zoom === 1 ? 0 : dx - (dx - panX) * zoom / before;
    panY = zoom === 1 ? 0 : dy - (dy - panY) * zoom / before;
    show(-1);
  };
  let held = null;
  canvas.addEventListener("pointerdown", event => { held = [event.clientX - panX, event.clientY - panY]; });
  window.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", event => {
    const box = canvas.getBoundingClientRect();
    if (held && zoom > 1) {
      panX = event.clientX - held[0];
      panY = event.clientY - held[1];
      return show(-1);
    }
    const found = nearest(event.clientX - box.left, event.clientY - box.top);
    if (found !== hover) show(found);
  });
  canvas.addEventListener("pointerleave", () => show(-1));
  canvas.addEventListener("dblclick", event => {
    const box = canvas.getBoundingClientRect();
    zoomAt(2.5, event.clientX - box.left, event.clientY - box.top);
  });
  const middle = factor => zoomAt(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
  document.getElementById("map-in").onclick = () => middle(1.8);
  document.getElementById("map-out").onclick = () => middle(1 / 1.8);
  document.getElementById("map-all").onclick = () => { zoom = 1; panX = panY = 0; show(-1); };
  canvas.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "+") middle(1.8);
    else if (event.key === "-") middle(1 / 1.8);
    else if (step) show(((hover < 0 ? 0 : hover + step) + count) % count);
    else return;
    event.preventDefault();
  });

  const key = document.getElementById("map-key");
  const symbol = code => {
    const small = document.createElement("canvas");
    small.width = small.height = 26;
    small.style.width = small.style.height = "13px";
    small.setAttribute("aria-hidden", "true");
    const context = small.getContext("2d");
    context.fillStyle = colours[code % colours.length];
    shape(context, code % 7, 13, 13, 9);
    context.fill();
    return small;
  };
  const legend = () => {
    key.replaceChildren(...data.names[by].map((text, code) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const label = document.createElement("span"), many = document.createElement("small");
      label.textContent = text || "(none)";
      many.textContent = Chart.number(data.counts[by][code]);
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden.has(code)));
      button.append(symbol(code), label, many);
      button.onclick = () => {
        if (!hidden.delete(code)) hidden.add(code);
        button.setAttribute("aria-pressed", String(!hidden.has(code)));
        soon();
      };
      item.append(button);
      return item;
    }));
  };
  const ways = document.getElementById("map-by");
  for (const way of Object.keys(WAYS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = WAYS[way];
    button.setAttribute("aria-pressed", String(way === by));
    button.onclick = () => {
      by = way;
      hidden = new Set();
      for (const other of ways.children) other.setAttribute("aria-pressed", String(other === button));
      legend();
      show(-1);
    };
    ways.append(button);
  }
  const part = data.shown < data.total ? data.shown.toLocaleString("en") + " of " + data.total.toLocaleString("en") : "All " + data.total.toLocaleString("en");
  document.getElementById("map-hint").textContent = part + " nodes of seed " + data.seed
    + " as they were at the end; hollow ones are off. "
    + (data.world ? "Nodes at one place are spread in a spiral around it. " : "The latency model knows no places. ")
    + "Point at a node for more; double-click to zoom, drag to move.";
  legend();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours = Chart.palette(); legend(); });
  draw();
})();
