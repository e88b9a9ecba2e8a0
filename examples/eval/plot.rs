//! How do numbers become a picture? As bars in an SVG of a few kilobytes that any browser shows.
//!
//! Pure, and the same for the same numbers.

use std::fmt::Write;

/// Values in \[0, 1\], in groups of one bar for each series.
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) series: Vec<String>,
    pub(crate) groups: Vec<(String, Vec<f64>)>,
}

const COLOURS: [&str; 4] = ["#9aa5b1", "#d9a441", "#4c8bf5", "#1b9e77"];
const BAR: f64 = 26.0;
const GAP: f64 = 22.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 220.0;

pub(crate) fn svg(bars: &Bars) -> String {
    let group_width = BAR * bars.series.len() as f64 + GAP;
    let width = (LEFT + group_width * bars.groups.len() as f64).max(480.0) + GAP;
    let bottom = TOP + HEIGHT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        bottom + 30.0
    );
    let put = |x: f64, y: f64, anchor: &str, text: &str| {
        format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            escaped(text)
        )
    };
    let mut body = put(LEFT, 18.0, "start", &bars.title);
    for step in 0..=5 {
        let value = f64::from(step) / 5.0;
        let y = bottom - HEIGHT * value;
        // Writing to a string cannot fail.
        let _ = writeln!(
            body,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{width}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>"
        );
        body += &put(LEFT - 6.0, y + 4.0, "end", &format!("{value:.1}"));
    }
    for (place, (series, colour)) in bars.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let x = LEFT + place as f64 * 120.0;
        let _ = writeln!(
            body,
            "<rect x=\"{x:.1}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"
        );
        body += &put(x + 14.0, 37.0, "start", series);
    }
    for (group, (label, values)) in bars.groups.iter().enumerate() {
        let start = LEFT + GAP / 2.0 + group as f64 * group_width;
        for (bar, (value, colour)) in values.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let x = start + bar as f64 * BAR;
            let height = HEIGHT * value.clamp(0.0, 1.0);
            let _ = writeln!(
                body,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                bottom - height,
                BAR - 2.0
            );
            let middle = x + (BAR - 2.0) / 2.0;
            body += &put(
                middle,
                bottom - height - 4.0,
                "middle",
                &format!("{value:.2}"),
            );
        }
        let middle = start + (group_width - GAP) / 2.0;
        body += &put(middle, bottom + 16.0, "middle", label);
    }
    out += &body;
    out + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_bar_for_each_value_and_no_markup_of_others() {
        let bars = Bars {
            title: "a < b".into(),
            series: vec!["dense".into(), "lexical".into()],
            groups: vec![
                ("all".into(), vec![0.5, 2.0]),
                ("<4>".into(), vec![0.25, 0.0]),
            ],
        };
        let picture = svg(&bars);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        // The background, two of the legend, four bars.
        assert_eq!(picture.matches("<rect ").count(), 7);
        assert!(picture.contains("a &lt; b") && picture.contains("&lt;4&gt;"));
        assert!(picture.contains("height=\"110.0\""), "half of the height");
        assert!(
            !picture.contains("height=\"440.0\""),
            "values stay in the frame"
        );
        assert_eq!(picture, svg(&bars));
    }
}
