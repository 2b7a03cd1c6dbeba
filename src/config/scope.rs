//! The repository that a token is asked for.

/// A repository scope such as `repository:probe/canary:pull`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The repository's name.
    pub repository: String,
    /// The actions, in the order given.
    pub actions: Vec<String>,
}

impl Scope {
    /// The scope as it goes into a query (distribution's token specification).
    pub fn text(&self) -> String {
        format!("repository:{}:{}", self.repository, self.actions.join(","))
    }

    /// Reads `repository:NAME:ACTION[,ACTION]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
        let component = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| {
                    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
                })
        };
        let actions: Vec<String> = actions.split(',').map(str::to_owned).collect();
        let word = |a: &String| !a.is_empty() && a.chars().all(|c| c.is_ascii_lowercase());
        (repository.len() <= 255
            && repository.split('/').all(component)
            && actions.iter().all(word))
        .then(|| Self { repository: repository.to_owned(), actions })
    }
}
