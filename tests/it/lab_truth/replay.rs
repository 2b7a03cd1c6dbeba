//! Sends captured requests to the lab, with what a client learns on the way put in its place:
//! tokens signed with the lab's keys, passwords, cookies, upload states.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use hyper::body::Bytes;
use registry_prober::lab::{
    Connection, Entry, FaultOrder, KeyKind, Login, Options, Reaction, Scenario, SigningKey, World,
};
use serde_json::Value;

use super::capture::{Answer, EXISTING, Exchange, UNSEEN};

/// A lab that follows a folder of transcripts.
pub(crate) struct Replay {
    world: World,
    began: SystemTime,
    /// What the transcript says → what the lab said in its place.
    learnt: Vec<(String, String)>,
    /// Key id of the transcript → number of the lab's key.
    keys: HashMap<String, u32>,
    empty_storage: bool,
    /// When the last answer had come.
    free_from: Duration,
}

/// How something that a client learns is found in an answer, by name.
type Field<'a> = &'a dyn Fn(&Answer, &str) -> Option<String>;

/// What came of a request.
pub(crate) struct Outcome {
    /// None if no answer comes.
    pub(crate) answer: Option<Answer>,
    pub(crate) after: Duration,
}

impl Replay {
    /// A lab of that scenario, given as JSON, that begins a day before the first transcript.
    pub(crate) fn new(scenario: &str, first: &str, empty_storage: bool) -> Self {
        let began = httpdate::parse_http_date(first).unwrap() - Duration::from_secs(86_400);
        let nanos = began.duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let options =
            Options { began: nanos.try_into().unwrap(), keys: KeyKind::Rsa, ..Options::default() };
        let scenario = Scenario::parse("replay", scenario).unwrap();
        let world = World::new(&scenario, &options).unwrap();
        Self {
            world,
            began,
            learnt: Vec::new(),
            keys: HashMap::new(),
            empty_storage,
            free_from: Duration::ZERO,
        }
    }

    /// Says which of the lab's keys a key id of the transcripts stands for.
    pub(crate) fn key(&mut self, kid: &str, number: u32) {
        self.keys.insert(kid.to_owned(), number);
    }

    pub(crate) fn knows_form(&self, length: usize) -> bool {
        self.keys.keys().any(|kid| kid.len() == length)
    }

    pub(crate) fn knows_key(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    pub(crate) fn set_faults(&mut self, orders: Vec<FaultOrder>) {
        self.world.set_faults(orders, Duration::ZERO).unwrap();
    }

    /// Sends a request as the transcript's client would, when the asked clock shows what the
    /// transcript's `Date` does and that clock is `offset` seconds ahead.
    pub(crate) fn send(&mut self, entry: Entry, exchange: &Exchange, offset: i64) -> Outcome {
        let request = self.request(exchange);
        let elapsed = self.elapsed(exchange, offset);
        let connection = Connection { number: 1, source: 1 };
        let early = self.world.before_body(entry, &request, elapsed);
        let declared: Option<usize> =
            exchange.header("content-length").and_then(|length| length.parse().ok());
        let reaction = match early {
            Some(reaction) => reaction,
            // The server waits for the body that the transcript's client never sends.
            None if declared.is_some_and(|length| length > request.body().len()) => Reaction::Hang,
            None => self.world.handle(entry, connection, &request, elapsed),
        };
        match reaction {
            Reaction::Answer { response, after } => {
                let answer = answer(&response);
                if let Some(real) = &exchange.answer {
                    self.learn(real, &answer);
                }
                self.free_from = elapsed + after;
                Outcome { answer: Some(answer), after }
            }
            _ => Outcome { answer: None, after: Duration::ZERO },
        }
    }

    fn elapsed(&self, exchange: &Exchange, offset: i64) -> Duration {
        let Some(real) = &exchange.answer else { return self.free_from };
        let date = httpdate::parse_http_date(real.header("date").unwrap()).unwrap();
        let shown = date.duration_since(self.began).unwrap().as_secs();
        // `Date` is the end of the answer; a client that sends no body waits for another reason.
        let took = if real.status == 413 { 0 } else { exchange.milliseconds };
        let ended = Duration::from_secs(shown.saturating_add_signed(-offset));
        let asked =
            (ended + Duration::from_millis(200)).saturating_sub(Duration::from_millis(took));
        // The second is all that is known, but no request begins before the last one has ended.
        if asked + Duration::from_secs(1) > self.free_from {
            asked.max(self.free_from)
        } else {
            asked
        }
    }

    fn request(&self, exchange: &Exchange) -> Request<Bytes> {
        let replace = |text: &str| {
            self.learnt.iter().fold(text.to_owned(), |text, (real, lab)| text.replace(real, lab))
        };
        let mut request =
            Request::builder().method(exchange.method.as_str()).uri(replace(&exchange.target));
        for (name, value) in &exchange.headers {
            let value = if name.eq_ignore_ascii_case("authorization") {
                self.authorization(value, &exchange.label)
            } else {
                replace(value)
            };
            request = request.header(name, value);
        }
        let body = match std::str::from_utf8(&exchange.body) {
            Ok(text) if text.contains("password=") => form(text).into_bytes(),
            _ => exchange.body.clone(),
        };
        request.body(Bytes::from(body)).unwrap()
    }

    fn authorization(&self, value: &str, label: &str) -> String {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme == "Basic" {
            let login = String::from_utf8(STANDARD.decode(rest).unwrap()).unwrap();
            let (user, password) = login.split_once(':').unwrap();
            return format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{}", known(user, password)))
            );
        }
        let space = &value[scheme.len()..value.len() - rest.trim_start().len()];
        match self.resigned(rest.trim_start(), label) {
            Some(token) => format!("{scheme}{space}{token}"),
            None => value.to_owned(),
        }
    }

    /// The same token by a key of the lab; none if it is not one.
    fn resigned(&self, token: &str, label: &str) -> Option<String> {
        let mut parts = token.split('.');
        let mut decode = || String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok();
        let (header, claims) = (decode()?, decode()?);
        let fields: Value = serde_json::from_str(&header).ok()?;
        if fields.get("alg")? == "none" {
            return None;
        }
        let kid = fields.get("kid").and_then(Value::as_str);
        let number = kid.and_then(|kid| self.keys.get(kid)).copied().unwrap_or(0);
        let named = SigningKey::numbered(KeyKind::Rsa, number).unwrap();
        let header = match kid.filter(|kid| self.keys.contains_key(*kid)) {
            Some(kid) if kid.len() == 59 => header.replace(kid, named.libtrust_id()),
            Some(kid) => header.replace(kid, named.thumbprint()),
            None => header,
        };
        let claims = if self.empty_storage { claims.replace(EXISTING, UNSEEN) } else { claims };
        // Where the label says so, the key id is right and the signature is another key's.
        let forged = label.starts_with("wrong key") || label == WRONG_SIGNATURE;
        let signer = if forged { SigningKey::numbered(KeyKind::Rsa, 99).unwrap() } else { named };
        signer.token(&header, &claims)
    }

    fn learn(&mut self, real: &Answer, lab: &Answer) {
        let cookie = |answer: &Answer, name: &str| {
            let start = format!("{name}=");
            let cookies = answer.all("set-cookie");
            let value = cookies.iter().find_map(|value| value.strip_prefix(start.as_str()));
            value.map(|value| value.split(';').next().unwrap().to_owned())
        };
        let header = |answer: &Answer, name: &str| answer.header(name).map(str::to_owned);
        let state = |answer: &Answer, _: &str| {
            let location = answer.header("location")?;
            location.split_once("_state=").map(|(_, state)| state.to_owned())
        };
        let fields: [(Field<'_>, &str); 5] = [
            (&cookie, "sid"),
            (&cookie, "_gorilla_csrf"),
            (&header, "x-harbor-csrf-token"),
            (&header, "docker-upload-uuid"),
            (&state, ""),
        ];
        for (field, name) in fields {
            if let (Some(real), Some(lab)) = (field(real, name), field(lab, name)) {
                self.learnt.push((real, lab));
            }
        }
    }
}

/// How the replay of file 21 is distinguished.
pub(crate) const WRONG_SIGNATURE: &str = "right key id, wrong signature";

/// The lab's password for a right one; wrong ones stay.
fn known(user: &str, password: &str) -> String {
    let logins =
        [Login::prober(), Login::pusher(), Login::pools(), Login::person(), Login::admin()];
    let wrong = ["wrong", "x"].contains(&password);
    let login = logins.into_iter().find(|login| login.username == user && !wrong);
    login.map_or_else(|| password.to_owned(), |login| login.password)
}

fn form(text: &str) -> String {
    let person = Login::person();
    text.replace("password=secret", &format!("password={}", person.password))
}

fn answer(response: &http::Response<Bytes>) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: String::from_utf8_lossy(response.body()).trim_end().to_owned(),
    }
}
