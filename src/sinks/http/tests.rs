use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn peer() -> Peer {
    Peer::new(
        "influxdb",
        &url("http://u:hunter2@db:8086/?x=hunter2"),
        vec![Secret::new("hunter2")],
    )
}

#[test]
fn every_status_says_what_to_do_next() {
    use Class::{Accepted, Misconfigured, Refused, Transient};
    for (statuses, expected) in [
        (&[200, 204, 299][..], Accepted),
        (&[400, 422], Refused),
        (&[413], Class::TooLarge),
        // May pass by itself.
        (
            &[408, 425, 429, 500, 502, 503, 504, 507, 520, 524],
            Transient,
        ),
        // Not known, but the server's fault.
        (&[505, 511, 599], Transient),
        // A person must change something; the data is kept.
        (
            &[301, 308, 401, 403, 404, 405, 407, 409, 415, 501],
            Misconfigured,
        ),
    ] {
        for status in statuses {
            assert_eq!(class_of(*status), expected, "{status}");
        }
    }
}

#[test]
fn words_come_before_the_status() {
    let words = [Words {
        text: "policy not found",
        class: Class::Misconfigured,
        advice: "create it",
    }];
    let answer = |status| Answer {
        status,
        ..Answer::default()
    };
    assert_eq!(
        judge(
            &peer(),
            &answer(500),
            "retention policy not found: no",
            &words
        ),
        Verdict::Failed(WriteError::Misconfigured {
            reason: "influxdb at http://db:8086 answered 500: retention policy not found: no; \
                     create it"
                .to_owned()
        })
    );
    // A success stays one, whatever its text says.
    assert_eq!(
        judge(&peer(), &answer(204), "policy not found", &words),
        Verdict::Accepted
    );
}

#[test]
fn no_reason_holds_a_secret_a_login_or_a_line_break() {
    let answer = Answer {
        status: 302,
        location: Some("https://u:hunter2@else/x?p=hunter2".to_owned()),
        ..Answer::default()
    };
    let Verdict::Failed(error) = judge(&peer(), &answer, "you sent\n'hunter2'", &[]) else {
        panic!("a redirect is a failure");
    };
    assert_eq!(
        error.to_string(),
        "influxdb at http://db:8086 answered 302: you sent '[secret]'; it redirects to \
         https://else/x: set that address"
    );
    assert!(!format!("{:?}", peer()).contains("hunter2"));
}

#[test]
fn reasons_are_bounded() {
    let words = peer().words(&"é".repeat(100_000));
    assert_eq!(words.chars().count(), MAX_WORDS + 1);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_at_most_ten_minutes() {
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    for (value, date, expected) in [
        ("7", None, Some(7)),
        (" 0 ", None, Some(0)),
        ("3600", None, Some(600)),
        ("99999999999999999999999", None, Some(600)),
        ("Sun, 06 Nov 1994 08:50:07 GMT", date, Some(30)),
        // In the past: now.
        ("Sun, 06 Nov 1994 08:00:00 GMT", date, Some(0)),
        // Without the server's own time a date says nothing.
        ("Sun, 06 Nov 1994 08:50:07 GMT", None, None),
        ("soon", date, None),
        ("-1", date, None),
        ("", date, None),
    ] {
        assert_eq!(
            retry_after(value, date),
            expected.map(Duration::from_secs),
            "{value:?}"
        );
    }
}

#[test]
fn a_login_in_the_address_is_taken_out_and_decoded() {
    let (clean, login) = without_login(&url("https://us%40er:p%3Aw@h:1/p"));
    assert_eq!(clean.as_str(), "https://h:1/p");
    assert_eq!(login, Some(("us@er".to_owned(), Secret::new("p:w"))));
    assert_eq!(without_login(&url("http://h/")).1, None);
}

#[test]
fn certificates_are_for_a_person_and_refused_connections_pass() {
    let io = |text: &str| std::io::Error::other(text.to_owned());
    assert!(matches!(
        peer().unreachable(&io(
            "ssl: certificate verify failed (self-signed certificate)"
        )),
        WriteError::Misconfigured { .. }
    ));
    assert_eq!(
        peer().unreachable(&io("Connection refused")),
        WriteError::Transient {
            reason: "influxdb at http://db:8086 cannot be reached: Connection refused".to_owned(),
            retry_after: None
        }
    );
}

#[test]
fn a_ca_file_must_exist_and_hold_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let tls = |name: &str| TlsSettings {
        ca_file: Some(folder.path().join(name)),
        verify: true,
    };
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    for (name, expected) in [
        ("missing.pem", "cannot read the CA file"),
        ("empty.pem", "no certificate in the CA file"),
    ] {
        let error = client(&tls(name)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(client(&TlsSettings::default()).is_ok());
}
