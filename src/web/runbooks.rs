//! The page of each finding and alert, and the list of them.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

use super::finding::{FindingView, current};
use super::state::Shared;
use super::text::spans;
use crate::findings::{ELSEWHERE, FindingName, Group, Runbook, alerts};

/// The list, by group.
pub(super) async fn index() -> Response {
    let group = |group: Group| {
        let of_group = |name: &&FindingName| name.definition().group == group;
        let pages = FindingName::ALL.iter().filter(of_group).copied().map(Runbook::Finding);
        Section { title: group.title(), pages: pages.collect() }
    };
    let mut sections: Vec<Section> = Group::ALL.into_iter().map(group).collect();
    let alerts = alerts().iter().map(Runbook::Alert).collect();
    sections.push(Section { title: "Alerts", pages: alerts });
    shown(&IndexPage { sections })
}

/// One page. Where the finding is now, its own commands come first.
pub(super) async fn page(
    Extract(shared): Extract<Arc<Shared>>,
    Path(name): Path<String>,
) -> Response {
    // Links from elsewhere may name the file.
    let name = name.strip_suffix(".md").unwrap_or(&name);
    let Some(runbook) = Runbook::named(name) else { return unknown(name) };
    let (snapshot, now) = (shared.snapshot(), shared.state.program.now());
    let (current, more) = match runbook {
        Runbook::Finding(name) => current(&snapshot, name, now),
        Runbook::Alert(_) => (Vec::new(), 0),
    };
    let facts = runbook.facts();
    shown(&RunbookPage { root: "../", runbook, facts, current, more, body: body(runbook.text()) })
}

fn unknown(name: &str) -> Response {
    // As with every unknown path: a log or a terminal reads it.
    let plain: String = name.chars().take(100).filter(char::is_ascii_graphic).collect();
    let meant = Runbook::meant(name);
    let meant = meant.map_or(String::new(), |meant| format!(" Did you mean {meant}?"));
    let text = format!("There is no page {plain}.{meant} All pages are at /runbooks/.\n");
    (StatusCode::NOT_FOUND, text).into_response()
}

struct Section {
    title: &'static str,
    pages: Vec<Runbook>,
}

#[derive(Template)]
#[template(path = "runbooks.html", config = "src/web/askama.toml")]
struct IndexPage {
    sections: Vec<Section>,
}

#[derive(Template)]
#[template(path = "runbook.html", config = "src/web/askama.toml")]
struct RunbookPage<'a> {
    /// The way from the page to the daemon's root.
    root: &'static str,
    runbook: Runbook,
    facts: Vec<(&'static str, String)>,
    /// Where the finding is now, with the registry's name and the age of what is known.
    current: Vec<(&'a str, String, FindingView<'a>)>,
    /// At how many more registries it is.
    more: usize,
    /// HTML, in which everything that is no markup of ours is escaped.
    body: String,
}

fn shown(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a runbook cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "The page cannot be written.\n").into_response()
        }
    }
}

/// Markdown as HTML: links lead to the pages here, and HTML in the text is text.
fn body(markdown: &str) -> String {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(|event| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = match dest_url.strip_suffix(".md") {
                Some("README") => CowStr::from("./"),
                Some(page) => CowStr::from(page.to_owned()),
                None => dest_url,
            };
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        other => other,
    });
    let mut body = String::new();
    html::push_html(&mut body, events);
    body
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn markup_in_a_page_is_text_and_links_lead_to_pages() {
        let html = body("<script>x</script>\n\na <b> [k](token-key-mismatch.md) `<i>`\n");
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
        assert!(
            html.contains("&lt;script&gt;") && html.contains("<code>&lt;i&gt;</code>"),
            "{html}"
        );
        assert!(html.contains(r#"<a href="token-key-mismatch">k</a>"#), "{html}");
    }
}
