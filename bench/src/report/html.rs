//! A report as one page without scripts, fonts or images from elsewhere: a table, bars for the
//! ratios, plots as SVG. Light and dark.

use std::fmt::Write as _;

use super::{Plot, Report, Row, UprightPart};
use crate::target::Part;

pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Sterna: {subject}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{subject}</h1>\n<p>{method}.</p>\n",
        subject = escape(report.subject),
        method = escape(&report.method),
    );
    match report.is_upright {
        true => report.upright_parts().iter().for_each(|part| upright(&mut page, report, part)),
        false => table(&mut page, report),
    }
    report.plots.iter().for_each(|it| plot(&mut page, it));
    for note in &report.notes {
        let _ = writeln!(page, "<p>{}</p>", escape(note));
    }
    let machine = &report.machine;
    let _ = write!(
        page,
        "<footer>{} · {} cores · {} GiB · Linux {}</footer>\n</body>\n</html>\n",
        escape(&machine.processor),
        machine.cores,
        machine.memory_gib,
        escape(&machine.kernel),
    );
    page
}

fn table(page: &mut String, report: &Report) {
    page.push_str("<table>\n<tr><th></th>");
    for column in report.columns {
        let _ = write!(page, "<th>{}</th>", escape(column.label));
    }
    page.push_str("<th>of raw</th></tr>\n");
    let longest = report.rows.iter().filter_map(|row| row.of_raw).fold(1.0, f64::max);
    for row in &report.rows {
        let _ = write!(page, "<tr class=\"{}\"><th>{}</th>", class(row), escape(&row.name));
        for (column, value) in report.columns.iter().zip(&row.values) {
            let _ = write!(page, "<td>{}</td>", column.text(*value));
        }
        if let Some(of_raw) = row.of_raw {
            let (percent, width) = (of_raw * 100.0, of_raw / longest * 8.0);
            let _ = write!(
                page,
                "<td class=\"bar\"><i style=\"width:{width:.2}rem\"></i>{percent:.0} %</td>"
            );
        } else {
            page.push_str("<td></td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn upright(page: &mut String, report: &Report, (heading, rows): &UprightPart<'_>) {
    let _ = write!(page, "<table>\n<tr><th>{}</th>", escape(heading));
    for (name, _) in rows {
        let _ = write!(page, "<th>{}</th>", escape(name));
    }
    page.push_str("</tr>\n");
    for (at, column) in report.columns.iter().enumerate() {
        let _ = write!(page, "<tr><th>{}</th>", escape(column.label));
        for (_, row) in rows {
            let _ = write!(page, "<td>{}</td>", column.text(row.values[at]));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn class(row: &Row) -> &'static str {
    match row.part {
        Part::Sterna => "ours",
        Part::Raw => "raw",
        Part::Peer => "peer",
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 14.0;
const TICKS: u32 = 5;

fn plot(page: &mut String, plot: &Plot) {
    let points = || plot.series.iter().flat_map(|series| &series.points);
    let x_max = round_up(points().map(|point| point.0).fold(0.0, f64::max));
    let y_max = round_up(points().map(|point| point.1).fold(0.0, f64::max));
    let x = |value: f64| LEFT + value / x_max * (WIDTH - LEFT - 10.0);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_max * (HEIGHT - BOTTOM - TOP);
    let _ = write!(
        page,
        "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n",
        escape(&plot.title)
    );
    for tick in 0..=TICKS {
        let part = f64::from(tick) / f64::from(TICKS);
        let (at_x, at_y) = (x(x_max * part), y(y_max * part));
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at_y:.1}\" y2=\"{at_y:.1}\"/>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"middle\" x=\"{at_x:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            at_y + 4.0,
            short(y_max * part),
            HEIGHT - BOTTOM + 16.0,
            short(x_max * part),
        );
    }
    let _ = writeln!(
        page,
        "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"middle\" transform=\"rotate(-90)\" x=\"{:.1}\" y=\"14\">{}</text>",
        LEFT + (WIDTH - LEFT) / 2.0,
        HEIGHT - 4.0,
        escape(&plot.x),
        -(HEIGHT - BOTTOM) / 2.0,
        escape(&plot.y),
    );
    for mark in plot.marks.iter().map(|mark| x(*mark)) {
        let _ = writeln!(
            page,
            "<line class=\"mark\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
    }
    for (index, series) in plot.series.iter().enumerate() {
        let line: Vec<_> =
            series.points.iter().map(|it| format!("{:.1},{:.1}", x(it.0), y(it.1))).collect();
        let colour = index % COLOURS;
        let _ = writeln!(page, "<polyline class=\"c{colour}\" points=\"{}\"/>", line.join(" "));
    }
    page.push_str("</svg>\n<ul>");
    for (index, series) in plot.series.iter().enumerate() {
        let colour = index % COLOURS;
        let _ = write!(page, "<li class=\"c{colour}\">{}</li>", escape(&series.name));
    }
    page.push_str("</ul></figure>\n");
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|it| *it >= value).unwrap_or(value)
}

fn short(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const COLOURS: usize = 6;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1d2733;--faint:#c9d1d9;--back:#fff;--ours:#c8102e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--faint:#3a4450;--back:#12161b;--ours:#ff5d6c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .4rem;text-align:right;border-bottom:1px solid var(--faint)}
th:first-child{text-align:left}tr.ours th:first-child{color:var(--ours)}
tr.raw{opacity:.75}.bar{text-align:left;white-space:nowrap}
.bar i{display:inline-block;height:.7rem;background:var(--faint);margin-right:.4rem}
tr.ours .bar i{background:var(--ours)}
figure{margin:2rem 0}svg{width:100%}text{font-size:12px;fill:currentColor}
.end{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:var(--faint);stroke-width:1}
.mark{stroke:currentColor;stroke-width:1;stroke-dasharray:4 4;opacity:.6}
polyline{fill:none;stroke-width:2}ul{list-style:none;padding:0;display:flex;gap:1.2rem;flex-wrap:wrap}
li:before{content:'';display:inline-block;width:1.2rem;height:3px;margin-right:.4rem;vertical-align:middle}
.c0{stroke:#c8102e}.c1{stroke:#1f77b4}.c2{stroke:#2a9d5c}.c3{stroke:#b8860b}.c4{stroke:#7b4fb5}.c5{stroke:#4a8f9f}
li{stroke:none}li.c0:before{background:#c8102e}li.c1:before{background:#1f77b4}li.c2:before{background:#2a9d5c}
li.c3:before{background:#b8860b}li.c4:before{background:#7b4fb5}li.c5:before{background:#4a8f9f}
footer{margin-top:2rem;font-size:.85rem;opacity:.7}
";
