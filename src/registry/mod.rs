//! The registry protocol as pure functions: bytes and headers in, facts out.
//!
//! Challenges (RFC 6750, RFC 7617), token responses and JWTs (RFC 7519, distribution's token
//! specification), error bodies, families of servers. No I/O, no clock. It does not know how
//! bytes are carried, and transport does not know what they mean; only `probe` joins the two.

mod answer;
mod challenge;
mod content;
mod family;
mod page;
mod pools;
mod replications;
mod settings;
mod stamp;
mod text;
mod token;
mod upload;
mod web_state;

pub use answer::{answer_of, date_of};
pub use challenge::{MAX_PARAMETER, challenge_of, shown_challenge};
pub use content::{OWN_TAG, canary_tag, config_of, digest_of, first_of_index, tags_of};
pub use family::{family_of, harbor_health, harbor_version};
pub use pools::worker_pools;
pub use replications::{Replication, failed_tasks, replications, tells_of_refusal};
pub use settings::{csrf_cookie_secure, strict_transport, system_settings};
pub use stamp::{Stamp, csrf_time, systeminfo_time, upload_time};
pub use text::each_text;
pub use token::{
    MAX_TOKEN, TokenError, TokenResponse, facts_hiding, read_token, read_token_hiding,
    read_token_response,
};
pub use upload::{UploadPlace, upload_place};
pub use web_state::{
    CSRF_COOKIE, CSRF_TOKEN, CsrfRefusal, SESSION_COOKIE, csrf_refusal, csrf_token, set_cookie,
};
