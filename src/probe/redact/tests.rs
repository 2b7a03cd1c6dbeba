//! Every way in which a server may write a secret, and what must not be taken for one.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use super::*;
use crate::config::{BackendSource, Credentials, PublicUrl};
use crate::model::{RegistryName, Route};
use crate::probe::memory::{Memories, Memory};
use crate::probe::pace::Side;
use crate::transport::{Connect, Destination};

const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwcm9iZXIiLCJuIjoxMjM0NTY3ODl9.\
                     MEUCIQDf0hZ3kXWb1m2n3o4p5q6r7s8t9u0vAwByCzD";

fn redactor(password: &str) -> Redactor {
    let name = RegistryName::parse("hub").unwrap();
    let url = PublicUrl::parse("https://hub.example.com").unwrap();
    let mut registry = config::Registry::new(name, url, BackendSource::Static(Vec::new()));
    let password = SecretString::from(password);
    registry.credentials = Some(Credentials { username: "prober".to_owned(), password });
    Redactor::new(&registry)
}

#[test]
fn a_password_is_hidden_however_it_is_written() {
    for password in ["s3cr:t/ä+&", "correct horse battery staple", "Tr0ub4dor"] {
        let redactor = redactor(password);
        let percent =
            password.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let form: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect();
        let twice: String = url::form_urlencoded::byte_serialize(percent.as_bytes()).collect();
        let json = password
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect::<Vec<_>>()
            .concat();
        let html =
            password.chars().map(|c| format!("&#{};", u32::from(c))).collect::<Vec<_>>().concat();
        let hex = password.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let pair = format!("prober:{password}");
        let padded = STANDARD.encode(format!("x{password}"));
        let url_safe = URL_SAFE_NO_PAD.encode(&pair);
        let lower = STANDARD.encode(&pair).to_ascii_lowercase();
        for written in [
            password.to_owned(),
            password.to_uppercase(),
            percent,
            form,
            twice,
            json,
            html,
            hex.to_uppercase(),
            hex,
            STANDARD.encode(password),
            STANDARD.encode(&pair),
            url_safe,
            padded,
            lower,
        ] {
            if written == password.to_uppercase() && !password.is_ascii() {
                continue;
            }
            let text = redactor.text(&format!("Authorization: ({written}) refused"));
            let end = text.strip_prefix("Authorization: ").unwrap();
            assert!(end.contains(HIDDEN) && end.ends_with(" refused"), "{written}: {text}");
            assert!(!text.contains(&written), "{written}: {text}");
            assert!(text.len() < 60, "{written}: {text}");
        }
    }
}

#[test]
fn a_token_is_hidden_as_a_whole_and_in_parts() {
    let redactor = redactor("Tr0ub4dor");
    redactor.learn(TOKEN);
    let signature = TOKEN.rsplit('.').next().unwrap();
    let hex = TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    for written in [
        TOKEN,
        signature,
        &TOKEN[..70],
        &TOKEN[25..],
        STANDARD.encode(TOKEN).trim_end_matches('='),
        &hex,
    ] {
        assert_eq!(redactor.text(&format!("<{written}>")), "<[secret]>", "{written}");
    }
}

#[test]
fn a_token_is_hidden_until_the_last_round_ends_that_may_have_used_it() {
    let redactor = redactor("Tr0ub4dor");
    let (own, on_demand) = (redactor.round(), redactor.round());
    redactor.learn(TOKEN);
    drop(own);
    assert_eq!(redactor.text(TOKEN), HIDDEN);
    drop(on_demand);
    assert_eq!(redactor.text(TOKEN), HIDDEN, "the next round begins in 15 s");
    let seldom = Redactor { often: false, ..redactor };
    let (own, on_demand) = (seldom.round(), seldom.round());
    drop(own);
    assert_eq!(seldom.text(TOKEN), HIDDEN);
    drop(on_demand);
    assert_eq!(seldom.given().now.bytes(), 0);
}

#[test]
fn a_session_of_an_earlier_round_is_hidden_before_it_is_sent_again() {
    let memory = Memory::of(&Memories::default(), &[Route::Balancer], 50, Side::Own);
    let connect = Connect::Address("192.0.2.1:443".parse().unwrap());
    let (host, host_header) = ("hub.example.com".to_owned(), "hub.example.com".to_owned());
    let to = Destination { tls: true, host, host_header, connect };
    let mut headers = HeaderMap::new();
    headers.insert("set-cookie", HeaderValue::from_static("sid=0123456789abcdefg; Path=/"));
    memory.get(&Route::Balancer).unwrap().keep_session(&to, &headers);
    let redactor = redactor("Tr0ub4dor");
    let said = "session 0123456789abcdefg of user prober";
    assert_eq!(redactor.changed(said), None, "nobody knows it yet");
    memory.learned_by(&redactor);
    assert_eq!(redactor.text(said), "session [secret] of user prober");
}

#[test]
fn what_is_no_secret_is_left_as_it_is() {
    let redactor = redactor("registry");
    redactor.learn(TOKEN);
    redactor.learn("hub.example.com/service/token-harbor-registry-and-more-of-such-words");
    redactor.learn("harbor-registry");
    for text in [
        "Bearer realm=\"https://hub.example.com/service/token\",service=\"harbor-registry\"",
        "unauthorized: unauthorized to access repository: library/x, action: pull",
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6",
        "nginx/1.25 100% a+b & c \\ d",
    ] {
        assert_eq!(redactor.changed(text), None, "{text}");
    }
}

#[test]
fn what_nobody_sees_is_shown() {
    let redactor = redactor("Tr0ub4dor");
    let text = redactor.text("a\u{202e}b\u{200b}c\u{1b}[1md\ne\u{feff}");
    assert_eq!(text, "a\\u{202e}b\\u{200b}c\\u{1b}[1md e\\u{feff}");
}

#[test]
fn a_reply_loses_what_it_gives_and_is_still_there_as_it_came() {
    let redactor = redactor("Tr0ub4dor");
    let mut headers = HeaderMap::new();
    headers.insert("server", HeaderValue::from_str(TOKEN).unwrap());
    headers.append("set-cookie", HeaderValue::from_static("sid=0123456789abcdef; Path=/"));
    headers.append("set-cookie", HeaderValue::from_static("other=1"));
    let body = format!(r#"{{"token":"{TOKEN}","\u0078":"\u0054r0ub4dor","n":1}}"#);
    let reply = Reply { status: 200, headers, body: body.clone().into_bytes() };
    let (clean, raw) = redactor.reply(reply);
    assert_eq!(clean.headers["server"], HIDDEN);
    assert_eq!(clean.headers["set-cookie"], "sid=[secret]; Path=/");
    assert_eq!(clean.headers.get_all("set-cookie").iter().count(), 2);
    let json: Value = serde_json::from_slice(&clean.body).unwrap();
    assert_eq!((&json["token"], &json["x"]), (&HIDDEN.into(), &HIDDEN.into()));
    assert_eq!(raw.unwrap().body, body.into_bytes());
    let plain = Reply { status: 200, headers: HeaderMap::new(), body: b"{\"a\": 1.0}".to_vec() };
    let (clean, raw) = redactor.reply(plain);
    assert!(raw.is_none() && clean.body == b"{\"a\": 1.0}");
}

#[test]
fn a_token_that_is_issued_again_is_hidden_where_it_was_said_before() {
    const OPAQUE: &str = "StaticOpaqueToken0123456789abcdefghijklmnop";
    let redactor = redactor("Tr0ub4dor");
    let said = format!("answered by {OPAQUE}");
    assert_eq!(redactor.changed(&said), None, "nobody knows it yet");
    redactor.learn(OPAQUE);
    assert_eq!(redactor.text(&said), "answered by [secret]");
}

#[test]
fn pieces_of_a_token_in_other_secrets_do_not_hide_it() {
    let redactor = redactor("Tr0ub4dor");
    let token = "0Qw7Zx0Kp3Lm0Ty9-1Rw8Ax1Jp4Lk1Uy8-2Sw9Bx2Hp5Lj2Vy7-3Tw0Cx3Gp6Lh3";
    for piece in token.as_bytes().chunks(PIECE) {
        redactor.learn(&format!(
            "q0w1e2r3t4y5u6i7{}z9x8c7v6b5n4m3l2",
            std::str::from_utf8(piece).unwrap()
        ));
    }
    redactor.learn(token);
    assert_eq!(redactor.text(&format!("it is {token}")), "it is [secret]");
}

#[test]
fn what_many_tokens_have_in_common_is_hidden_alone_and_hides_none_of_them() {
    let redactor = redactor("Tr0ub4dor");
    // Like signatures, the rest of each has nothing in common with that of another.
    let odd = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835_u128;
    let token = |number: u128| format!("sharedheaderpart{:032x}", odd.wrapping_mul(number + 1));
    let said = "it begins with sharedheaderpartZZZ";
    (0..2).for_each(|number| redactor.learn(&token(number)));
    assert_eq!(redactor.changed(said), None, "of two tokens it is too little");
    (2..8).for_each(|number| redactor.learn(&token(number)));
    assert_eq!(redactor.text(&format!("{said}.")), "it begins with [secret]ZZZ.");
    for number in 0..8 {
        assert_eq!(redactor.text(&token(number)), HIDDEN, "{number}");
    }
}

#[test]
fn tokens_without_end_take_no_more_than_their_share_of_memory() {
    let redactor = redactor("Tr0ub4dor");
    let token = |number: usize| format!("{number:032x}").repeat(1_024);
    for number in 0..300 {
        redactor.learn(&token(number));
        let given = redactor.given.lock().unwrap();
        assert!(given.now.bytes() + given.before.bytes() <= 2 * MAX_GIVEN + token(0).len() * 2);
    }
    assert_eq!(redactor.text(&token(299)), HIDDEN);
}
