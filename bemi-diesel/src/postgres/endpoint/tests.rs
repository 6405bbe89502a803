use super::*;

fn parse(url: &str) -> Endpoint {
    Endpoint::parse(url).expect("a valid URL")
}

#[test]
fn an_endpoint_shows_its_address_and_hides_the_role() {
    for (url, address) in [
        (
            "postgres://app:secret@db.example/shop",
            "db.example:5432/shop",
        ),
        (
            "postgresql://app:secret@a:1,b:2/shop?sslmode=require",
            "a:1,b:2/shop",
        ),
        ("host=/run/postgresql user=app", "/run/postgresql:5432/app"),
        (
            "postgres://app@%2Frun%2Fpostgresql/shop",
            "/run/postgresql:5432/shop",
        ),
    ] {
        assert_eq!(parse(url).to_string(), address);
    }
}

#[test]
fn tls_settings_are_libpqs() {
    let endpoint =
        parse("postgres://app@db/shop?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fca.pem");
    assert_eq!(endpoint.ssl_mode(), SslMode::VerifyFull);
    assert_eq!(endpoint.ssl_root_cert, Some("/ca.pem".into()));
    assert_eq!(endpoint.connect_timeout(), Duration::from_secs(3));
    assert_eq!(parse("postgres://app@db/shop").ssl_mode(), SslMode::Prefer);
    assert_eq!(
        parse("host=db user=app sslmode=disable").ssl_mode(),
        SslMode::Disable
    );
}

#[test]
fn a_wrong_url_is_named_without_its_password() {
    for (url, message) in [
        (
            "mysql://app:secret@db/shop",
            "the database URL is not valid: expected postgres://role:password@host:port/database",
        ),
        ("", "the database URL names no host"),
        (
            "postgres://app:secret@db/shop?sslmode=on",
            "the sslmode of the database URL must be disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "postgres://app:secret@db/shop?secret=secret",
            "the database URL is not valid: expected postgres://role:password@host:port/database",
        ),
    ] {
        let error = Endpoint::parse(url).err().expect("refused");
        assert_eq!(error.to_string(), message);
    }
}
