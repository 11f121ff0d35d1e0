//! `simsearch serve --auth-token-file`: who is answered.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::client::{Reply, Server};
use super::environment;
use crate::TestEnv;

const TOKEN: &str = "3f1c-a-secret-of-this-test";

fn started(env: &TestEnv, more: &[&str]) -> Server {
    env.write("token", format!("{TOKEN}\n"));
    fs::set_permissions(env.path("token"), Permissions::from_mode(0o600)).unwrap();
    Server::start(env, &[&["--auth-token-file", "token"], more].concat())
}

/// The name and value of the cookie that an answer sets, and what else it says of it.
fn cookie(reply: &Reply) -> (String, String) {
    let (cookie, rest) = reply.header("set-cookie").split_once("; ").unwrap();
    (cookie.to_owned(), rest.to_owned())
}

#[test]
fn only_those_who_know_the_token_are_answered() {
    let (env, _) = environment();
    let server = started(&env, &[]);
    assert!(!server.said.contains("chmod"), "{}", server.said);
    let bearer = format!("Bearer {TOKEN}");
    let known = [("Authorization", bearer.as_str())];
    for path in [
        "/similar/00000.jpg",
        "/object/00000.jpg",
        "/thumbnail/00000.jpg",
        "/random",
        "/metrics",
        "/openapi.json",
        "/",
        "/nothing",
        "//",
        "/page",
    ] {
        for headers in [
            &[][..],
            &[("Authorization", "Bearer 3f1c-a-secret-of-this-tesT")],
            &[("Authorization", "Bearer ")],
            &[("Cookie", "simsearch=3f1c-a-secret-of-this-test")],
        ] {
            let reply = server.ask("GET", path, headers, b"");
            assert_eq!(reply.status, 401, "{path} {headers:?}: {reply:?}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            assert_eq!(reply.header("set-cookie"), "");
            let body = String::from_utf8(reply.body).unwrap();
            assert!(
                !body.contains(".jpg") && !body.contains("objects"),
                "{body}"
            );
        }
        let status = server.ask("GET", path, &known, b"").status;
        assert!([200, 404].contains(&status), "{path}: {status}");
    }
    assert_eq!(server.ask("POST", "/similar", &[], b"picture").status, 401);
    assert_eq!(
        server.ask("POST", "/similar", &known, b"picture").status,
        501
    );
    // A token in any other address says nothing.
    let elsewhere = format!("/similar/00000.jpg?token={TOKEN}");
    assert_eq!(server.get(&elsewhere).status, 401);
    // What is in every copy of the program, and a health check that tells nothing of the collection.
    assert_eq!(server.get("/page/style.css").status, 200);
    assert_eq!(
        server.get("/healthz").json(),
        serde_json::json!({ "status": "ok" })
    );
    let health = server.ask("GET", "/healthz", &known, b"").json();
    assert_eq!(health["objects"], 11);
    let document = server.ask("GET", "/openapi.json", &known, b"").json();
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
}

#[test]
fn a_link_with_the_token_gives_the_browser_a_cookie_and_leads_on_without_it() {
    let (env, _) = environment();
    let server = started(&env, &[]);
    let reply = server.get(&format!("/?id=00000.jpg&token={TOKEN}&view=map"));
    assert_eq!(reply.status, 303);
    assert_eq!(reply.header("location"), "./?id=00000.jpg&view=map");
    assert_eq!(reply.header("cache-control"), "no-store");
    let (value, rest) = cookie(&reply);
    assert!(!value.contains(TOKEN), "{value}");
    assert_eq!(rest, "Max-Age=31536000; HttpOnly; SameSite=Strict");
    for path in ["/", "/similar/00000.jpg"] {
        let known = [("Cookie", value.as_str())];
        assert_eq!(server.ask("GET", path, &known, b"").status, 200, "{path}");
    }
    // Of all characters that a token may have, as they are and as programs write them.
    env.write("every", "aZ09-._~+/==+aZ09-._~+/==\n");
    let every = Server::start(&env, &["--auth-token-file", "every"]);
    for given in [
        "aZ09-._~+/==+aZ09-._~+/==",
        "aZ09-._~%2B%2F%3D%3D%2BaZ09-._~%2B%2F%3D%3D",
    ] {
        assert_eq!(
            every.get(&format!("/?token={given}")).status,
            303,
            "{given}"
        );
    }
    assert_eq!(every.get("/?token=aZ09-._~+/==+aZ09-._~+/=").status, 401);
    let wrong = server.get("/?token=3f1c-a-secret-of-this-tesT");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""));
    let html = String::from_utf8(wrong.body).unwrap();
    assert!(html.contains("wants its token"), "{html}");

    // Behind a proxy, for its path and by TLS alone.
    let server = started(&env, &["--trust-proxy", "--base-path", "/b"]);
    assert_eq!(server.get("/b?token=x").header("location"), "b/?token=x");
    let link = format!("/b/?token={TOKEN}");
    for (headers, to, expected) in [
        (&[][..], "./", "; Path=/b/"),
        (
            &[("X-Forwarded-Prefix", "/a"), ("X-Forwarded-Proto", "https")],
            "/a/b/",
            "; Path=/a/b/; Secure",
        ),
    ] {
        let reply = server.ask("GET", &link, headers, b"");
        assert_eq!(reply.header("location"), to);
        let (_, rest) = cookie(&reply);
        assert!(
            rest.ends_with(&format!("SameSite=Strict{expected}")),
            "{rest}"
        );
    }
}

#[test]
fn a_page_of_an_allowed_site_may_send_the_token() {
    let (env, _) = environment();
    let site = "http://site.example:3000";
    let server = started(&env, &["--allow-origin", site]);
    let asks = [
        ("Origin", site),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let preflight = server.ask("OPTIONS", "/random", &asks, b"");
    assert_eq!(preflight.status, 200, "{preflight:?}");
    let allowed = preflight.header("access-control-allow-headers");
    assert!(allowed.contains("authorization"), "{allowed}");
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Origin", site), ("Authorization", bearer.as_str())];
    let reply = server.ask("GET", "/random", &headers, b"");
    assert_eq!(reply.header("access-control-allow-origin"), site);
    assert_eq!(reply.status, 200);
}

#[test]
fn a_file_without_a_good_token_is_refused_and_one_that_all_may_read_named() {
    let (env, _) = environment();
    let serve = ["serve", "--media-dir", "media", "--feature-dir", "features"];
    let listen = ["--listen", "127.0.0.1:0", "--auth-token-file", "token"];
    let run = || env.run([&serve[..], &listen].concat());
    run().exits(1).says(&["cannot read token"]);
    for (content, why) in [
        ("", "16 to 1024 characters, and this has 0"),
        ("\n", "this has 0"),
        ("short\n", "this has 5"),
        ("two lines of a\nsecret that is long", "one line"),
    ] {
        env.write("token", content);
        let outcome = run();
        outcome
            .exits(1)
            .says(&["token holds no token", why, "openssl rand"]);
        outcome.does_not_say("secret that");
    }
    let server = started(&env, &[]);
    drop(server);
    fs::set_permissions(env.path("token"), Permissions::from_mode(0o644)).unwrap();
    let server = Server::start(&env, &["--auth-token-file", "token"]);
    assert!(server.said.contains("chmod 600 token"), "{}", server.said);
}
