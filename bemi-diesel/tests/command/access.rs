//! How a server lets one in: passwords, certificates, sockets, hosts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use bemi_tests::{Cluster, Database};
use postgres::{Client, NoTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::support::{Capture, Shop, bemi, command, wait_until};

/// Sets up, captures one change and tears down through `url`, another way to the shop.
fn works(shop: &Shop, url: &str) {
    let connection = ["--database-url", url, "--slot", shop.slot()];
    let setup = bemi(&[&["setup"], &connection[..]].concat());
    assert_eq!(setup.code, 0, "{url}: {}", setup.stderr);
    let capture = Capture::start(&mut command(&[&["run"], &connection[..]].concat()));
    capture.says("capture reads the log");
    shop.sql("INSERT INTO todos (title) VALUES ('x')");
    shop.wait_until_stored(1);
    capture.kill();
    let torn_down = bemi(&[&["teardown"], &connection[..]].concat());
    assert_eq!(torn_down.code, 0, "{url}: {}", torn_down.stderr);
}

/// The whole of what setup through `url` says.
fn refused(url: &str) -> String {
    let outcome = bemi(&["setup", "--database-url", url]);
    assert_eq!(outcome.code, 1, "{url}");
    outcome.stderr.trim_end().to_owned()
}

fn shop(cluster: &Cluster) -> Shop {
    let shop = Shop::open_in(cluster);
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
    shop
}

/// Makes new settings and files of the server's count.
fn reload(cluster: &Cluster, until: &str) {
    let url = cluster.url("postgres");
    Client::connect(&url, NoTls)
        .unwrap()
        .batch_execute("SELECT pg_reload_conf()")
        .unwrap();
    wait_until(until, || {
        let mut client = Client::connect(&url, NoTls).unwrap();
        client
            .query_one(&format!("SELECT {until}"), &[])
            .unwrap()
            .get(0)
    });
}

#[test]
fn passwords_hold_every_character_and_travel_every_way() {
    let cluster = Cluster::start().unwrap();
    // The second is one that SCRAM prepares: a letter with its accent apart, a fraction, a wide letter.
    let passwords = [
        r#"p@:/?#[]!$&'()*+,;=% "\^`{|}~<>"#,
        "e\u{301}t\u{bd}Ａ\u{a0}ß日",
    ];
    let mut admin = Client::connect(&cluster.url("postgres"), NoTls).unwrap();
    for (index, password) in passwords.iter().enumerate() {
        for (method, encryption) in [
            ("scram", "scram-sha-256"),
            ("md5", "md5"),
            ("plain", "scram-sha-256"),
        ] {
            admin
                .batch_execute(&format!(
                    "SET password_encryption = '{encryption}'; CREATE ROLE {method}{index} LOGIN SUPERUSER PASSWORD '{}'",
                    password.replace('\'', "''")
                ))
                .unwrap();
        }
    }
    let rules = "local all all trust\n\
                 host all postgres 127.0.0.1/32 trust\n\
                 host all md50,md51 127.0.0.1/32 md5\n\
                 host all plain0,plain1 127.0.0.1/32 password\n\
                 host all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(cluster.data_folder().join("pg_hba.conf"), rules).unwrap();
    reload(
        &cluster,
        "(SELECT count(*) = 5 FROM pg_hba_file_rules) AND pg_conf_load_time() > pg_postmaster_start_time()",
    );
    for (index, password) in passwords.iter().enumerate() {
        for method in ["scram", "md5", "plain"] {
            let shop = shop(&cluster);
            let user = |password: &str| {
                let password: String = password
                    .bytes()
                    .map(|byte| format!("%{byte:02X}"))
                    .collect();
                shop.database.url().replacen(
                    "postgres@",
                    &format!("{method}{index}:{password}@"),
                    1,
                )
            };
            works(&shop, &user(password));
            let told = refused(&user("hunter2"));
            let start = format!(
                "error: 127.0.0.1:{}/{} refused the connection: password authentication failed for user \
                 \"{method}{index}\" (SQLSTATE 28P01)\nhelp: check the role, the password",
                cluster.port(),
                shop.slot()
            );
            assert!(told.starts_with(&start), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}

/// The certificates of a server, and who vouches for them.
struct Certificates {
    cluster: Cluster,
    authority: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let cluster = Cluster::start().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = cluster.socket_folder().join("authority.pem");
        fs::write(&authority, issuer.pem()).unwrap();
        Self {
            cluster,
            authority,
            issuer,
        }
    }

    /// Lets the server show a certificate for `name`.
    fn show(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let data = self.cluster.data_folder();
        let owner = fs::metadata(&data).unwrap();
        for (file, text) in [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            let file = data.join(file);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let mut client = Client::connect(&self.cluster.url("postgres"), NoTls).unwrap();
        client.batch_execute("ALTER SYSTEM SET ssl = on").unwrap();
        let loaded: String = client
            .query_one("SELECT pg_conf_load_time()::text", &[])
            .unwrap()
            .get(0);
        reload(
            &self.cluster,
            &format!("current_setting('ssl') = 'on' AND pg_conf_load_time() > '{loaded}'"),
        );
    }

    fn url(&self, shop: &Shop, host: &str, settings: &str) -> String {
        let url = shop.database.url().replacen("127.0.0.1", host, 1);
        format!("{url}?{settings}").replace("ROOT", self.authority.to_str().unwrap())
    }
}

#[test]
fn certificates_are_verified_as_libpq_does() {
    let certificates = Certificates::new();
    certificates.show("127.0.0.1");
    let shop = shop(&certificates.cluster);
    for settings in [
        "sslmode=disable",
        "sslmode=prefer",
        "sslmode=require",
        "sslmode=require&sslrootcert=ROOT",
        "sslmode=verify-ca&sslrootcert=ROOT",
        "sslmode=verify-full&sslrootcert=ROOT",
    ] {
        works(&shop, &certificates.url(&shop, "127.0.0.1", settings));
    }
    certificates.show("*.db.example");
    for settings in [
        "sslmode=require&sslrootcert=ROOT",
        "sslmode=verify-ca&sslrootcert=ROOT",
    ] {
        works(&shop, &certificates.url(&shop, "localhost", settings));
    }
    let help = "\nhelp: the server's certificate must be of version 3, signed by a certificate in sslrootcert, not that \
                certificate itself, and for sslmode=verify-full name the host; sslmode=require without sslrootcert \
                encrypts without verifying it";
    for (settings, problem) in [
        (
            "sslmode=verify-full&sslrootcert=ROOT",
            "certificate not valid for name \"localhost\"; certificate is only valid for DnsName(\"*.db.example\")",
        ),
        ("sslmode=verify-ca", "UnknownIssuer"),
    ] {
        assert_eq!(
            refused(&certificates.url(&shop, "localhost", settings)),
            format!(
                "error: cannot connect to localhost:{}/{}: tls error: TLS handshake failed: invalid peer certificate: \
                 {problem}{help}",
                certificates.cluster.port(),
                shop.slot()
            )
        );
    }
    // A server that knows no TLS.
    let plain = Database::create().unwrap();
    assert!(
        refused(&format!("{}?sslmode=require", plain.url()))
            .contains("server does not support TLS")
    );
}

#[test]
fn sockets_addresses_and_several_hosts() {
    let cluster = Cluster::builder()
        .setting("listen_addresses", "127.0.0.1,::1")
        .start()
        .unwrap();
    let shop = shop(&cluster);
    let (port, name) = (cluster.port(), shop.slot());
    let folder = cluster.socket_folder().to_str().unwrap();
    let encoded = folder.replace('/', "%2F");
    for url in [
        format!("postgres://postgres@{encoded}:{port}/{name}"),
        format!("postgres://postgres@{encoded}:{port}/{name}?sslmode=require"),
        format!("postgres:///{name}?host={folder}&port={port}&user=postgres"),
        format!("postgres://postgres@[::1]:{port}/{name}"),
        // The first host is down, the second no server at all.
        format!("postgres://postgres@127.0.0.1:1,%2Fnowhere:2,127.0.0.1:{port}/{name}"),
        format!(
            "postgres://postgres@127.0.0.1:1,127.0.0.1:{port}/{name}?target_session_attrs=read-write"
        ),
        format!("host=127.0.0.1 port={port} user=postgres dbname={name} sslmode=disable"),
    ] {
        works(&shop, &url);
    }
    assert!(
        refused("postgres://postgres@[::1]:1/nowhere")
            .starts_with("error: cannot connect to [::1]:1/nowhere: ")
    );
    assert_eq!(
        json!(
            bemi(&[
                "setup",
                "--database-url",
                "postgres://a@b/c?tcp_user_timeout=soon"
            ])
            .stderr
            .trim_end()
        ),
        json!("error: the tcp_user_timeout of the database URL must be a number of milliseconds")
    );
}
