//! What to do about each cause, best first, and what would confirm it.
//!
//! The first line of a remedy is prose, every further line a command to copy. Paths are those of
//! Harbor's offline installer, of its Helm chart and of plain distribution.

use crate::model::{Family, FindingName};

/// The remedies of a cause for a family of servers.
#[expect(clippy::too_many_lines, reason = "one entry for each cause of a closed list")]
pub(super) fn remedies(name: FindingName, family: Family) -> Vec<String> {
    let plain = matches!(family, Family::Distribution2 | Family::Distribution3);
    let list: &[&str] = match name {
        FindingName::TokenKeyMismatch if plain => &[
            "Give every token server the same signing key, and every registry a rootcertbundle \
             with its certificate; then restart the registries:\n\
             sha256sum /etc/docker/registry/root.crt\n\
             systemctl restart docker-registry",
            "Until then take the odd node out of the load balancer, or tie clients to one node by \
             source address.",
        ],
        FindingName::TokenKeyMismatch => &[
            "Copy one node's key to all others, keeping owner 10000 and mode 600, and restart core \
             (Harbor 1.x: root.crt too, and restart the registry):\n\
             sha256sum /data/secret/core/private_key.pem   # on every node\n\
             scp -p GOOD:/data/secret/core/private_key.pem /data/secret/core/private_key.pem\n\
             docker restart harbor-core",
            "With Helm pin the key, or each upgrade makes a new one: create a TLS secret and set \
             core.secretName, then restart all core pods:\n\
             kubectl create secret tls harbor-token-key --cert=tls.crt --key=tls.key\n\
             helm upgrade harbor harbor/harbor --reuse-values --set core.secretName=harbor-token-key\n\
             kubectl rollout restart deployment/harbor-core",
            "Until then take the odd node out of the load balancer, or tie clients to one node by \
             source address.",
        ],
        FindingName::TokenKeyRotationWindow => &[
            "Let the old tokens expire (30 minutes by default) and restart every replica that \
             still holds the old key:\n\
             kubectl rollout restart deployment/harbor-core",
            "Pin the key, so that the next upgrade does not change it (core.secretName).",
        ],
        FindingName::SigningKeyUnusable if plain => &[
            "Check that the registry's rootcertbundle holds the certificate of the key that the \
             token server signs with, then restart it:\n\
             openssl x509 -in /etc/docker/registry/root.crt -noout -pubkey | sha256sum\n\
             openssl pkey -in token-server.key -pubout | sha256sum\n\
             systemctl restart docker-registry",
            "Take the node out of the load balancer until it accepts its own tokens.",
        ],
        FindingName::SigningKeyUnusable => &[
            "Check that core can read a whole private key, as uid 10000, and copy it from a good \
             node if not; core reads it again at each request:\n\
             docker exec harbor-core sh -c 'id -u; grep -c \"PRIVATE KEY--\" /etc/core/private_key.pem'   # 10000, and 2 for a whole file\n\
             chown 10000:10000 /data/secret/core/private_key.pem; chmod 600 /data/secret/core/private_key.pem",
            "Harbor 1.x and plain distribution: the registry's root.crt must belong to that key:\n\
             openssl pkey -in private_key.pem -pubout | sha256sum\n\
             openssl x509 -in root.crt -noout -pubkey | sha256sum",
            "Take the node out of the load balancer until it accepts its own tokens.",
        ],
        FindingName::KeyIdFormatMismatch => &[
            "Make the token server write the key id that the registry looks for: distribution 3 \
             wants the RFC 7638 thumbprint, distribution 2 the libtrust id (docker_auth: \
             disable_legacy_key_id).",
            "Or let the token server send its certificate chain (x5c), which both accept, or give \
             distribution 3 a jwks file whose kid is the libtrust id.",
            "Or run one major version on all nodes.",
        ],
        FindingName::IssuerAudienceMismatch => &[
            "Make issuer and service equal in the registry's configuration and at the token \
             server, then restart the registry:\n\
             grep -A6 'auth:' /etc/docker/registry/config.yml\n\
             systemctl restart docker-registry",
            "Check that the realm leads to the token server of this site and not of another.",
        ],
        FindingName::RobotTokenOfOldKey => &[
            "Create the robot again: up to Harbor 2.1 its secret is signed with the node's key and \
             dies with it.",
        ],
        FindingName::ClockSkewNbf | FindingName::ClockSkewExp => &[
            "Bring the clocks together, on the node and on its hypervisor:\n\
             chronyc tracking; timedatectl\n\
             systemctl restart chronyd; chronyc makestep",
            "Harbor up to 2.10 tolerates nothing, from 2.11 on a minute: upgrade, and alert on \
             offsets above 0.1 s until then.",
            "Until then tie clients to one node by source address.",
        ],
        FindingName::ProjectNewerThanToken => &[
            "Fetch a new token: log in again, or let the pipeline ask for its token after the \
             project is created.",
            "If it lasts for more than a minute, compare the clock of the issuing core with the \
             database's:\n\
             psql -h DB -U harbor registry -c 'select now()'; date -u",
        ],
        FindingName::TokenLifetimeTooShort => {
            &["Raise the token's lifetime (Harbor: Configuration, System Settings, Token \
             Expiration; 30 minutes is the default)."]
        }
        FindingName::RealmWrongEndpoint => &[
            "Set the public URL on every node (harbor.yml: external_url or hostname; Helm: \
             externalURL), prepare and restart; mind that prepare makes new secrets:\n\
             grep -E '^(hostname|external_url)' harbor.yml",
            "Let the load balancer keep Host with its port, and say the scheme:\n\
             proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto https;",
            "If the token server really has an authority of its own, add it to allowed_realms in \
             the prober's configuration.",
        ],
        FindingName::UploadLocationWrong => &[
            "Let every proxy before the registry say scheme and host, and say them as clients wrote \
             them:\n\
             proxy_set_header X-Forwarded-Proto https;\n\
             proxy_set_header Host $http_host;",
            "Harbor up to 2.2 behind a proxy that ends TLS: its own nginx overwrites \
             X-Forwarded-Proto; comment the line out in every location and reload it.",
            "Plain distribution: http.relativeurls: true makes it independent of headers.",
        ],
        FindingName::DnsAddressNotABackend => {
            &["Remove stale A and AAAA records of the public name, or make every node behind them \
             interchangeable."]
        }
        FindingName::LbMisroutesApiPath => &[
            "Route /v2/, /service/, /api/ and /c/ to Harbor's core and only / to the portal; keep \
             them out of single sign-on and web application firewalls.",
        ],
        FindingName::AuthorizationHeaderDropped => &[
            "Forward Authorization unchanged on /v2/ and /service/, in the load balancer and in \
             every proxy before it:\n\
             proxy_set_header Authorization $http_authorization;",
            "Look for auth_request, a gateway plugin or a redirect to another host.",
        ],
        FindingName::LbHealthCheckWrong if plain => &[
            "Let the balancer ask each node for /v2/ and expect 401, then look at what it believes:\n\
             echo 'show servers state' | socat stdio /run/haproxy/admin.sock",
            "Until then take a broken node out by hand, or switch the check off where it refuses \
             sound nodes.",
        ],
        FindingName::LbHealthCheckWrong => &[
            "Let the balancer ask each node for /api/v2.0/health and look for \"status\":\"healthy\" \
             in the body (its status is 200 always), or for /v2/ expecting 401:\n\
             http-check expect string \"status\":\"healthy\"   # HAProxy\n\
             echo 'show servers state' | socat stdio /run/haproxy/admin.sock",
            "Until then take a broken node out by hand, or switch the check off where it refuses \
             sound nodes.",
        ],
        FindingName::BodySizeLimited => &[
            "Take the limit away where the evidence puts it: the balancer if the nodes have none, \
             else the nodes' own nginx:\n\
             client_max_body_size 0;   # nginx, in the server or location of /v2/\n\
             kubectl -n harbor annotate ingress harbor-ingress nginx.ingress.kubernetes.io/proxy-body-size=0 --overwrite",
            "A limit of a content delivery network belongs to its plan: let pushes go around it.",
        ],
        FindingName::NotARegistry => {
            &["Restart the node's nginx: it holds the address of a container that is gone:\n\
             docker restart nginx"]
        }
        FindingName::LbAffinityHidesMismatch => {
            &["Fix the cause that is named with this; affinity only hides it until a node \
             fails or a client's address changes."]
        }
        FindingName::CredentialRefused => &[
            "Check the credential by hand; the robot may be disabled, expired or deleted, or its \
             secret damaged by the shell (quote 'robot$name'):\n\
             curl -su 'USER' 'URL/service/token?service=harbor-registry' -o /dev/null -w '%{http_code}\\n'",
            "Renew the robot's secret and put it into the prober's password_file; it is read again \
             when it changes.",
        ],
        FindingName::AnonymousDowngrade => &[
            "See whether the account exists at that node: do the nodes share one database?\n\
             grep -E '^POSTGRESQL_(HOST|PORT|DATABASE)=' common/config/core/env   # on every node\n\
             curl -s 'NODE/api/v2.0/health'",
            "A good account that fails for a second and a half after somebody's wrong password is \
             locked by Harbor: find who uses the old one, and give each consumer its own robot.",
        ],
        FindingName::LoginLocked => {
            &["Find who logs in with an old password in core's log, and use a robot for each \
             consumer."]
        }
        FindingName::DirectoryUnavailable => &[
            "See from the node whether the directory answers, and what core says of it:\n\
             docker exec harbor-core curl -sm5 telnet://LDAP_HOST:636 </dev/null; echo $?\n\
             docker logs --since 10m harbor-core 2>&1 | grep -iE 'ldap|oidc'",
            "Bring the directory back, or give Harbor a second server behind one address; shorten \
             its timeout (Configuration, Authentication).",
            "CI goes on with robots, which the database knows.",
        ],
        FindingName::SecretkeyMismatch => &[
            "Compare the key by which the nodes decrypt stored passwords:\n\
             sha256sum /data/secret/keys/secretkey   # on every node",
            "Copy the file of the nodes that accept to the others and restart core there (Helm: \
             secretKey, 16 characters); enter again what was saved at a node with the other key.",
            "Take the node out of the load balancer until then.",
        ],
        FindingName::CoreRegistryPasswordMismatch => {
            &["Give core and registry the same password again, and restart both (Helm: \
             registry.credentials with htpasswdString):\n\
             grep '^REGISTRY_CREDENTIAL_PASSWORD=' common/config/core/env | sha256sum   # on every node\n\
             docker restart harbor-core registry"]
        }
        FindingName::RepositoryAccessDenied => &[
            "Create the canary repository, or give the prober's robot the actions of its scope on \
             it; or correct `scope` in the prober's configuration.",
        ],
        FindingName::DatabaseUnavailable => &[
            "Look at PostgreSQL: is it up, is it writable, are there connections left?\n\
             psql -h DB -U postgres -c 'select count(*) from pg_stat_activity'\n\
             curl -s 'URL/api/v2.0/health'",
            "Keep max_open_conns times the number of cores below max_connections; restart cores \
             whose pool holds dead connections after a failover.",
        ],
        FindingName::CsrfKeyMismatch => &[
            "Give all cores the same key of exactly 32 characters and recreate them; prepare makes \
             a new one on every run:\n\
             grep -c '^CSRF_KEY=' common/config/core/env; grep '^CSRF_KEY=' common/config/core/env | sha256sum   # on every node\n\
             docker compose up -d --force-recreate core",
            "With Helm set core.xsrfKey, and restart all core pods:\n\
             kubectl rollout restart deployment/harbor-core",
            "Until then tie browsers to one node by a cookie of the load balancer.",
        ],
        FindingName::CsrfOriginRejected => &[
            "Set external_url to exactly what browsers use, scheme and port included; let the load \
             balancer pass Host and X-Forwarded-Proto on:\n\
             proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto $scheme;",
            "Leave Harbor 2.12.3, whose check of the origin does not know plain HTTP.",
        ],
        FindingName::SessionStoreNotShared => &[
            "Let all cores use one Redis and the same database index for sessions, and recreate \
             them; never one that another Harbor uses too:\n\
             grep '^_REDIS_URL_CORE=' common/config/core/env | sed 's#//.*@#//#'   # on every node\n\
             docker compose up -d --force-recreate core",
            "Until then tie browsers to one node by a cookie of the load balancer.",
        ],
        FindingName::HttpSecretMismatch if plain => &[
            "Give every node the same http.secret (or REGISTRY_HTTP_SECRET) and restart them; \
             without one each process makes its own at every start:\n\
             grep -A9 '^http:' /etc/docker/registry/config.yml | grep secret: | sha256sum   # on every node; e3b0c442: it has none\n\
             systemctl restart docker-registry",
            "Until then tie clients to one node by source address.",
        ],
        FindingName::HttpSecretMismatch => &[
            "Give the registries behind every core the same secret and restart them (Helm: \
             registry.secret, which an upgrade generates again unless it is set):\n\
             grep -A9 '^http:' common/config/registry/config.yml | grep secret: | sha256sum   # on every node\n\
             docker restart registry",
            "Until then tie clients to one node by source address.",
        ],
        FindingName::StorageNotShared => &[
            "See where each node stores, and whether the volume is mounted there:\n\
             findmnt -T /data/registry   # on every node\n\
             grep -A8 '^storage:' common/config/registry/config.yml | grep -viE 'key|secret|password'",
            "Mount the shared volume (or set the same bucket and prefix), restart the registry, and \
             let it start only when the mount is there (systemd: RequiresMountsFor).",
            "Take the node out of the load balancer until it is; then copy what was pushed only \
             there.",
        ],
        FindingName::StorageStaleReads => &[
            "NFS: mount without attribute caching on every node, or move to an object store:\n\
             findmnt -t nfs,nfs4 -o TARGET,OPTIONS   # look for actimeo=0 or noac",
            "A blob that is known and cannot be read: flush the registry's descriptor cache, and \
             never let two installations share one Redis database:\n\
             redis-cli -n 1 flushdb",
            "Until then tie clients to one node by source address.",
        ],
        FindingName::BlobRedirectUnreachable => &[
            "Let the registry serve blobs itself, and restart it (config.yml; Harbor: storage_service \
             in harbor.yml, disableredirect in the chart):\n\
             storage: {redirect: {disable: true}}",
            "Or give the object store an address and a certificate that clients know \
             (regionendpoint), and bring its clock and the nodes' together.",
        ],
        FindingName::ReadOnlyMode => &[
            "Switch it off when the maintenance is over (Harbor: Configuration, System Settings, \
             Repository Read Only; distribution: storage.maintenance.readonly):\n\
             curl -su admin 'URL/api/v2.0/systeminfo' | jq .read_only",
            "Before Harbor 2.10 it also refuses tokens asked for by POST: use clients that ask by \
             GET meanwhile.",
        ],
        FindingName::ForeignJobserviceOnSharedRedis => &[
            "Give each installation a Redis, or a database number, of its own for its job service \
             and restart it (Helm: redis.external.jobserviceDatabaseIndex):\n\
             grep -A4 redis_pool common/config/jobservice/config.yml | sed 's#//.*@#//#'   # on every node",
            "Nodes that belong together: the same secrets on all of them, copied again after each \
             prepare:\n\
             grep -hE '^(CORE|JOBSERVICE)_SECRET=' common/config/{core,jobservice}/env | sha256sum   # on every node",
        ],
        FindingName::RedisUnavailable => &[
            "Bring Redis back, or let Sentinel choose another master, and see that all cores reach \
             it and that clients are left:\n\
             redis-cli -h REDIS ping; redis-cli -h REDIS info clients\n\
             grep '^_REDIS_URL_CORE=' common/config/core/env | sed 's#//.*@#//#'",
            "Restart core where it holds dead connections after a failover:\n\
             docker restart harbor-core harbor-jobservice",
        ],
        FindingName::ContentDiffers => &[
            "Let all nodes use one database and one storage; nodes that replicate content do not \
             share accounts, robots or projects.",
            "Until then do not balance writes or logins over them.",
        ],
        FindingName::CertificateInvalid => &[
            "Install the same certificate with its whole chain on every node and on the load \
             balancer, and reload:\n\
             openssl s_client -connect NODE:443 -servername HOST </dev/null | openssl x509 -noout -subject -enddate -ext subjectAltName",
            "If it is signed by an authority of your own, give the prober its ca_file.",
        ],
        FindingName::HttpHttpsMismatch => {
            &["Use one scheme end to end: the port speaks HTTP where TLS is spoken to it, or the \
             reverse. Check the backend's address in the prober's configuration and the load \
             balancer's mode (TCP or HTTP)."]
        }
        FindingName::TokenEndpointSlow => &[
            "Find the slow part: the challenge is core alone, a token needs the database, and a \
             user of LDAP or OIDC their server too.",
            "From Harbor 2.15.2 on passwords cost much CPU: use robots in pipelines, and more core \
             replicas.",
        ],
        FindingName::RateLimited => {
            &["Exempt the prober's address, or lower balancer.samples in its configuration; see \
             whether users meet the limit too."]
        }
        FindingName::ServerErrors => &[
            "Look at the part that the evidence names: 502 with an empty body is the registry \
             behind core, HTML from nginx is core itself:\n\
             docker ps --filter name=core --filter name=registry\n\
             docker logs --since 10m harbor-core",
            "Take the node out of the load balancer if it is the only one.",
        ],
        FindingName::MixedVersions => &["Finish the upgrade, or roll it back, on all nodes."],
        FindingName::SettingsDiffer => {
            &["Bring the nodes' configuration from one template; after prepare copy the generated \
             secrets to all nodes:\n\
             F='password|secret|key|@'; diff <(ssh A cat harbor.yml | grep -viE \"$F\") <(ssh B cat harbor.yml | grep -viE \"$F\")"]
        }
        FindingName::TlsHandshakeRefused => &[
            "See what the port says, with and without a client certificate, and by version:\n\
             openssl s_client -connect ADDRESS -servername HOST </dev/null\n\
             openssl s_client -connect ADDRESS -servername HOST -cert client.pem -key client.key </dev/null",
            "If it asks for a client certificate on purpose, give the prober one: --cert-file and \
             --key-file, or tls.cert_file and tls.key_file.",
            "Switch TLS 1.2 and 1.3 on with ciphers that Go's clients know, and let the port serve \
             the public name:\n\
             ssl_protocols TLSv1.2 TLSv1.3;   # nginx",
        ],
        FindingName::RequestFiltered => &[
            "Let the filter pass the prober: by its address, or by its User-Agent, which begins with \
             registry-prober/.",
            "Or give the prober the User-Agent of a program that passes (user_agent, on the command \
             line --user-agent), and see whether docker passes:\n\
             curl -s -o /dev/null -w '%{http_code}\\n' -A docker/27.0.0 URL/v2/",
        ],
        FindingName::HeaderSizeLimited => &[
            "Raise the header buffers of the proxy that refuses, above the size in the evidence:\n\
             large_client_header_buffers 4 32k;   # nginx\n\
             tune.bufsize 32768   # HAProxy, global\n\
             LimitRequestFieldSize 32768   # Apache",
            "Or make the tokens smaller: fewer repositories in one scope, and no certificate chain \
             (x5c) in their header.",
        ],
        FindingName::BackendUnreachable => &[
            "See whether the node is up and reached from here:\n\
             curl -sSk -o /dev/null -w '%{http_code}\\n' --resolve HOST:443:ADDRESS https://HOST/v2/",
            "If it was taken away on purpose, take it out of the prober's configuration.",
            "If it answers through the load balancer only, it may expect the PROXY protocol \
             (proxy_protocol of nginx, accept-proxy of HAProxy): give the prober a port without it.",
        ],
        FindingName::ComponentUnhealthy => {
            &["Look at the part that the evidence names; the health page says why:\n\
             curl -s 'NODE/api/v2.0/health'\n\
             docker ps --filter name=harbor --filter name=registry\n\
             docker logs --since 10m harbor-jobservice"]
        }
        FindingName::UnknownBackend => &[
            "Find the node behind the load balancer that is not listed here (a stale upstream or \
             record, or a new node), and add it as a backend or remove it there.",
        ],
        FindingName::ProberClockSuspect => &["Bring the prober's own clock right:\n\
             chronyc tracking; timedatectl"],
        FindingName::UnexplainedRefusal => &[
            "Look the requests up in the nodes' logs: every one of them carries an X-Request-Id \
             that begins with registry-prober-.",
            "Please report it with the output of registry-prober check --output=json.",
        ],
        FindingName::UnexplainedLoss => &[
            "See which server the load balancer picks when a request is lost, and whether each of \
             its servers answers:\n\
             echo 'show stat' | socat stdio /run/haproxy/admin.sock | cut -d, -f1,2,18,14",
            "Look for a member of the load balancer that is not listed here, and for a firewall \
             or proxy that closes connections.",
        ],
    };
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// What would confirm a cause.
#[expect(clippy::too_many_lines, reason = "one entry for each cause of a closed list")]
pub(super) fn confirm(name: FindingName) -> &'static str {
    match name {
        FindingName::TokenKeyMismatch => {
            "The core log of the refusing node says \"verification error\" (distribution: \"token \
             signed by untrusted key\"), and the checksums of the key files differ."
        }
        FindingName::TokenKeyRotationWindow => "The key id of a node changed within the hour.",
        FindingName::SigningKeyUnusable => {
            "The node's log names the key file, or the public keys of private_key.pem and root.crt \
             differ."
        }
        FindingName::KeyIdFormatMismatch => {
            "The registry's log says \"token signed by untrusted key\" with a key id of the other \
             form."
        }
        FindingName::IssuerAudienceMismatch => {
            "The registry's log says \"token from untrusted issuer\" or \"token intended for \
             another audience\"."
        }
        FindingName::RobotTokenOfOldKey => "The robot's secret begins with eyJ.",
        FindingName::ClockSkewNbf => {
            "The refusing node's log says \"token is not valid yet\" or \"used before issued\"; \
             date -u on both nodes differs."
        }
        FindingName::ClockSkewExp => {
            "The refusing node's log says \"token is expired\"; date -u on both nodes differs."
        }
        FindingName::ProjectNewerThanToken => {
            "Core's log says that the token was issued before the project's creation time."
        }
        FindingName::TokenLifetimeTooShort => "Large layers fail late, small ones never.",
        FindingName::RealmWrongEndpoint => {
            "The Www-Authenticate of URL/v2/ and of URL/v2/REPOSITORY/tags/list shows the realm."
        }
        FindingName::UploadLocationWrong => {
            "docker push retries for ever or is refused, and its debug log shows the other URL."
        }
        FindingName::DnsAddressNotABackend => "dig +short A and AAAA of the public name.",
        FindingName::LbMisroutesApiPath => "curl of the path shows HTML instead of JSON.",
        FindingName::AuthorizationHeaderDropped => {
            "With the header 'Authorization: Bearer x' URL/v2/ answers with the same challenge as \
             without it."
        }
        FindingName::LbHealthCheckWrong => {
            "The balancer's own list of nodes disagrees with this page."
        }
        FindingName::BodySizeLimited => {
            "The proxy's error log says \"client intended to send too large body\"."
        }
        FindingName::NotARegistry => "The node's nginx log names an upstream that is gone.",
        FindingName::LbAffinityHidesMismatch => {
            "The same check from another address, or without the balancer's cookie, is refused."
        }
        FindingName::CredentialRefused => {
            "The same credential is refused by docker login, another one is accepted."
        }
        FindingName::AnonymousDowngrade => {
            "docker login at that node alone fails, and at the others passes."
        }
        FindingName::LoginLocked => "Core's log shows failed logins of the account.",
        FindingName::DirectoryUnavailable => {
            "Core's log has an error of LDAP or of the OIDC provider at the time of the login."
        }
        FindingName::SecretkeyMismatch => {
            "The nodes' secretkey files differ; core's log has LDAP code 49 for the search account."
        }
        FindingName::CoreRegistryPasswordMismatch => {
            "The registry's log of that node shows 401 for harbor_registry_user."
        }
        FindingName::RepositoryAccessDenied => {
            "Another robot, or the administrator, reaches the repository."
        }
        FindingName::DatabaseUnavailable => "/api/v2.0/health says database: unhealthy.",
        FindingName::CsrfKeyMismatch => {
            "The checksums of CSRF_KEY in the nodes' core environment differ, or its length is not 32."
        }
        FindingName::CsrfOriginRejected => {
            "The browser's network view shows 403 with \"origin invalid\", or a Secure cookie on \
             plain HTTP."
        }
        FindingName::SessionStoreNotShared => {
            "The nodes' _REDIS_URL_CORE differ, or lead to different servers."
        }
        FindingName::HttpSecretMismatch => {
            "The refusing registry's log says \"invalid secret\", and the checksums of the secrets \
             differ."
        }
        FindingName::StorageNotShared => {
            "The mounts, buckets or prefixes of the nodes differ, and so does what they list."
        }
        FindingName::StorageStaleReads => {
            "What is missing at one node appears there by itself within seconds or a minute."
        }
        FindingName::BlobRedirectUnreachable => {
            "docker pull stops at the layers, and curl of the redirect fails on a client's machine."
        }
        FindingName::ReadOnlyMode => "A docker push is refused with the same words.",
        FindingName::ForeignJobserviceOnSharedRedis => {
            "Failed replications have no log at their own installation; it lies at the other one, \
             with a 401."
        }
        FindingName::RedisUnavailable => "redis-cli ping from the node's core container.",
        FindingName::ContentDiffers => {
            "The nodes' POSTGRESQL_HOST differ, or the account is missing in one web page."
        }
        FindingName::CertificateInvalid => "openssl s_client against each address.",
        FindingName::HttpHttpsMismatch => "curl with http:// and https:// against the port.",
        FindingName::TokenEndpointSlow => "curl -w '%{time_total}' of the token endpoint.",
        FindingName::RateLimited => "It ends when the prober's rate is lowered.",
        FindingName::ServerErrors => "docker ps and the logs of core, registry and nginx.",
        FindingName::MixedVersions => "The version in each node's web page.",
        FindingName::SettingsDiffer => "A diff of the nodes' configuration.",
        FindingName::TlsHandshakeRefused => "openssl s_client against the port.",
        FindingName::RequestFiltered => {
            "The same request with docker's User-Agent is answered with 401."
        }
        FindingName::HeaderSizeLimited => {
            "The proxy's log says \"client sent too long header line\", or a short token passes."
        }
        FindingName::BackendUnreachable => "curl against the address from the prober's host.",
        FindingName::ComponentUnhealthy => "The log of the component that is named.",
        FindingName::UnknownBackend => "The load balancer's list of servers.",
        FindingName::ProberClockSuspect => "timedatectl on the prober's host.",
        FindingName::UnexplainedRefusal => "The nodes' logs at the time of the round.",
        FindingName::UnexplainedLoss => {
            "The load balancer's own log names the server that each lost request was sent to."
        }
    }
}
