// The time line: one strip for each quantity over one axis of virtual time, with what happened to the network.
(() => {
  const data = Chart.data("timeline-data");
  if (!data) return;
  const canvas = document.getElementById("timeline"), stage = canvas.parentElement;
  const tip = document.getElementById("time-tip"), said = document.getElementById("time-said");
  const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]], LEFT = 66, RIGHT = 16, STRIP = 104, GAP = 16, MARKS = 46, AXIS = 34;
  let colours = Chart.palette(), from = 0, to = data.span, cursor = null, drag = null;
  const height = MARKS + data.rows.length * (STRIP + GAP) + AXIS;
  const wide = () => canvas.clientWidth - LEFT - RIGHT;
  const xOf = t => LEFT + (t - from) / (to - from) * wide();
  const tOf = x => from + Math.max(0, Math.min(1, (x - LEFT) / wide())) * (to - from);
  const topOf = row => MARKS + row * (STRIP + GAP);
  const when = t => {
    const text = Number((t / data.unit).toPrecision(4)) + " " + data.unitName;
    return text;
  };
  const value = (row, one) => one === null ? "–" : row.share ? Number((one * 100).toPrecision(4)) + " %" : Chart.number(one);

  const extent = row => {
    let low = Infinity, high = -Infinity;
    for (const one of row.lines) {
      one.t.forEach((t, i) => {
        if (t < from || t > to || one.m[i] === null) return;
        low = Math.min(low, data.band ? one.lo[i] : one.m[i]);
        high = Math.max(high, data.band ? one.hi[i] : one.m[i]);
      });
    }
    if (low > high) return [0, 1];
    if (row.share) return [low > 0.9 ? 0.9 : low > 0.7 ? 0.7 : low > 0.5 ? 0.5 : 0, 1];
    if (low > 0 && (low < high * 0.85 || low === high)) low = 0;
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    return [low === 0 ? 0 : low - room, high + room];
  };
  const steps = (low, high, most) => {
    const raw = (high - low) / most, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map(n => n * size).find(n => n >= raw);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  };
  const stroke = (context, points) => {
    let pen = false;
    context.beginPath();
    for (const [x, y] of points) {
      if (y === null) { pen = false; continue; }
      context[pen ? "lineTo" : "moveTo"](x, y);
      pen = true;
    }
    context.stroke();
  };
  const shortened = (context, text, room) => {
    if (context.measureText(text).width <= room) return text;
    let end = text.length;
    while (end > 1 && context.measureText(text.slice(0, end) + "…").width > room) end--;
    return text.slice(0, end) + "…";
  };

  const strip = (context, theme, row, at) => {
    const top = topOf(at), bottom = top + STRIP, [low, high] = extent(row);
    const yOf = one => bottom - (one - low) / (high - low || 1) * (STRIP - 18);
    context.textBaseline = "middle";
    context.lineWidth = 1;
    for (const one of steps(low, high, 3)) {
      const y = Math.round(yOf(one)) + 0.5;
      if (y > bottom + 1 || y < top + 12) continue;
      context.strokeStyle = theme.line;
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(LEFT + wide(), y);
      context.stroke();
      context.fillStyle = theme.soft;
      context.textAlign = "right";
      context.fillText(row.share ? Math.round(one * 1000) / 10 + " %" : Chart.number(one), LEFT - 8, y);
    }
    context.save();
    context.beginPath();
    context.rect(LEFT, top - 2, wide(), STRIP + 4);
    context.clip();
    row.lines.forEach((one, number) => {
      const colour = colours[number % colours.length];
      if (data.band) {
        context.fillStyle = colour;
        context.globalAlpha = 0.17;
        // Piece by piece: a gap in the samples is a gap in the band.
        let piece = [];
        const fill = () => {
          if (piece.length > 1) {
            context.beginPath();
            piece.forEach((i, n) => context[n ? "lineTo" : "moveTo"](xOf(one.t[i]), yOf(one.hi[i])));
            [...piece].reverse().forEach(i => context.lineTo(xOf(one.t[i]), yOf(one.lo[i])));
            context.fill();
          }
          piece = [];
        };
        one.t.forEach((_, i) => { if (one.m[i] === null) fill(); else piece.push(i); });
        fill();
        context.globalAlpha = 1;
      }
      context.strokeStyle = colour;
      context.lineWidth = 1.8;
      context.setLineDash(DASHES[number % DASHES.length]);
      stroke(context, one.t.map((t, i) => [xOf(t), one.m[i] === null ? null : yOf(one.m[i])]));
      context.setLineDash([]);
      // What has no neighbour makes no line: it gets a dot.
      context.fillStyle = colour;
      one.m.forEach((value, i) => {
        if (value === null || (one.m[i - 1] ?? null) !== null || (one.m[i + 1] ?? null) !== null) return;
        context.beginPath();
        context.arc(xOf(one.t[i]), yOf(value), 3.2, 0, 7);
        context.fill();
      });
    });
    context.restore();
    context.textAlign = "left";
    context.fillStyle = theme.ink;
    context.font = "600 12.5px system-ui, sans-serif";
    context.fillText(row.metric, LEFT + 2, top + 2);
    let x = LEFT + 14 + context.measureText(row.metric).width;
    context.font = "12px system-ui, sans-serif";
    if (row.lines.length > 1 || row.lines[0].label) {
      row.lines.forEach((one, number) => {
        context.strokeStyle = colours[number % colours.length];
        context.lineWidth = 2.2;
        context.setLineDash(DASHES[number % DASHES.length]);
        stroke(context, [[x, top + 2], [x + 20, top + 2]]);
        context.setLineDash([]);
        context.fillStyle = theme.soft;
        context.fillText(one.label || "all", x + 25, top + 2);
        x += 41 + context.measureText(one.label || "all").width;
      });
      if (row.left) context.fillText("and " + row.left + " more", x, top + 2);
    }
  };

  const happened = (context, theme) => {
    const ends = [-1, -1];
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.font = "11.5px system-ui, sans-serif";
    for (const mark of data.marks) {
      if (mark.t < from || mark.t > to) continue;
      const x = Math.round(xOf(mark.t)) + 0.5;
      context.strokeStyle = theme.ink;
      context.globalAlpha = 0.45;
      context.lineWidth = 1;
      context.setLineDash([4, 3]);
      context.beginPath();
      context.moveTo(x, 12);
      context.lineTo(x, height - AXIS);
      context.stroke();
      context.setLineDash([]);
      context.globalAlpha = 1;
      context.fillStyle = theme.ink;
      context.beginPath();
      context.moveTo(x - 4.5, 4);
      context.lineTo(x + 4.5, 4);
      context.lineTo(x, 11);
      context.fill();
      // On one of two lines where there is room; else the tooltip tells it.
      const level = ends.findIndex(end => x > end);
      if (level < 0) continue;
      const room = Math.min(230, LEFT + wide() - x - 8), turned = room < 60;
      const text = shortened(context, mark.text, turned ? 200 : room), width = context.measureText(text).width;
      const at = turned ? x - 6 - width : x + 6;
      if (turned && at < ends[level]) continue;
      context.fillStyle = theme.ink;
      context.fillText(text, at, 9 + level * 16);
      ends[level] = at + width + 10;
    }
    context.font = "12px system-ui, sans-serif";
  };

  const draw = () => {
    colours = Chart.palette();
    const theme = Chart.theme(), context = Chart.fit(canvas, height);
    context.clearRect(0, 0, canvas.clientWidth, height);
    data.rows.forEach((row, at) => strip(context, theme, row, at));
    happened(context, theme);
    context.textAlign = "center";
    context.textBaseline = "top";
    const bottom = height - AXIS;
    for (const one of steps(from / data.unit, to / data.unit, Math.max(3, Math.floor(wide() / 90)))) {
      const x = xOf(one * data.unit);
      context.strokeStyle = theme.line;
      context.beginPath();
      context.moveTo(x, bottom - 6);
      context.lineTo(x, bottom);
      context.stroke();
      context.fillStyle = theme.soft;
      context.fillText(Chart.number(one), x, bottom + 2);
    }
    context.fillStyle = theme.soft;
    context.fillText("virtual time, " + data.unitName, LEFT + wide() / 2, bottom + 18);
    if (drag && drag.moved) {
      context.fillStyle = theme.accent;
      context.globalAlpha = 0.18;
      context.fillRect(Math.min(drag.start, drag.now), MARKS - 8, Math.abs(drag.now - drag.start), bottom - MARKS + 8);
      context.globalAlpha = 1;
    } else if (cursor !== null && cursor >= from && cursor <= to) {
      context.strokeStyle = theme.accent;
      context.lineWidth = 1.4;
      context.beginPath();
      context.moveTo(xOf(cursor), MARKS - 8);
      context.lineTo(xOf(cursor), bottom);
      context.stroke();
    }
  };
  const soon = Chart.whenever(draw);

  const at = (line, t) => {
    let low = 0, high = line.t.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (line.t[middle] < t) low = middle; else high = middle;
    }
    return Math.abs(line.t[low] - t) <= Math.abs(line.t[high] - t) ? low : high;
  };
  const show = (t, y) => {
    cursor = t;
    soon();
    if (t === null) return Chart.hide(tip);
    const rows = [];
    for (const row of data.rows) {
      row.lines.forEach((one, number) => {
        const i = at(one, t);
        let text = value(row, one.m[i]);
        if (data.band && one.m[i] !== null && one.lo[i] !== one.hi[i]) {
          text += " (" + value(row, one.lo[i]) + " … " + value(row, one.hi[i]) + ")";
        }
        rows.push([row.metric + (one.label ? " " + one.label : ""), text, colours[number % colours.length]]);
      });
    }
    const near = data.marks.filter(mark => Math.abs(xOf(mark.t) - xOf(t)) < 6);
    for (const mark of near.slice(0, 4)) rows.push([when(mark.t), mark.text]);
    Chart.tip(tip, stage, xOf(t), y, when(t), rows);
    said.textContent = when(t) + ": " + rows.map(([label, text]) => label + " " + text).join("; ");
  };
  const look = (a, b) => {
    const least = data.span / 5000, width = Math.max(least, Math.min(data.span, b - a));
    from = Math.max(0, Math.min(a, data.span - width));
    to = from + width;
    soon();
  };
  canvas.addEventListener("pointerdown", event => {
    const x = event.clientX - canvas.getBoundingClientRect().left;
    drag = { start: x, now: x, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left;
    if (!drag) return show(tOf(x), event.clientY - box.top);
    drag.now = Math.max(LEFT, Math.min(LEFT + wide(), x));
    drag.moved = drag.moved || Math.abs(drag.now - drag.start) > 5;
    Chart.hide(tip);
    soon();
  });
  canvas.addEventListener("pointerup", () => {
    if (drag && drag.moved) look(tOf(Math.min(drag.start, drag.now)), tOf(Math.max(drag.start, drag.now)));
    drag = null;
    soon();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; soon(); });
  canvas.addEventListener("pointerleave", () => { if (!drag) show(null, 0); });
  canvas.addEventListener("dblclick", () => look(0, data.span));
  document.getElementById("time-all").onclick = () => look(0, data.span);
  canvas.addEventListener("keydown", event => {
    const middle = cursor === null ? (from + to) / 2 : cursor, width = to - from;
    const step = { ArrowLeft: -width / 100, ArrowRight: width / 100 }[event.key];
    if (step) show(Math.max(from, Math.min(to, middle + step)), MARKS);
    else if (event.key === "+") look(middle - width / 4, middle + width / 4);
    else if (event.key === "-") look(middle - width, middle + width);
    else if (event.key === "0") look(0, data.span);
    else return;
    event.preventDefault();
  });
  draw();
})();
