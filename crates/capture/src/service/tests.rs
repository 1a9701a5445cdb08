//! A row is a process: how it looks in `/proc`, and the name people expect.

use deeptrace_model::{Pid, ProcessKey};

use super::*;

const ID: &str = "3f4e0a7c9b1d2e5f6a8b7c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f";

/// A process of executable `exe` that was started in `folder` with `line` (blanks part arguments,
/// `|` stands for a blank inside one). Its comm is what the kernel would take from the first.
fn process(exe: &str, folder: &str, line: &str) -> Facts {
    let arguments: Vec<String> = line.split(' ').map(|arg| arg.replace('|', " ")).collect();
    let mut comm = base(&arguments[0]).split([' ', ':']).next().unwrap_or_default().to_owned();
    comm.truncate(15);
    Facts {
        key: ProcessKey { pid: Pid(7), ..ProcessKey::default() },
        parent: Pid(1),
        comm,
        executable: exe.to_owned(),
        arguments,
        cgroup: "0::/user.slice/user-1000.slice/session-3.scope\n".to_owned(),
        folder: folder.to_owned(),
        ..Facts::default()
    }
}

fn name(facts: &Facts) -> ServiceName {
    Names::new(&[], "vm1").expect("no rules").name(facts)
}

const PYTHON: &str = "/usr/bin/python3.11";
const NODE: &str = "/usr/bin/node";
const JAVA: &str = "/usr/lib/jvm/java-17-openjdk-amd64/bin/java";

#[test]
fn command_lines_have_the_names_people_expect() {
    let rows: &[(&str, &str, &str, &str)] = &[
        // Servers that are their own executable, whatever they write over their arguments.
        ("/usr/sbin/nginx", "/", "nginx:|worker|process", "nginx"),
        ("/usr/sbin/nginx", "/", "nginx:|master|process|/usr/sbin/nginx", "nginx"),
        (
            "/usr/lib/postgresql/15/bin/postgres",
            "/d",
            "postgres:|app|shop|127.0.0.1(5432)|idle",
            "postgres",
        ),
        (
            "/usr/lib/postgresql/15/bin/postgres",
            "/d",
            "/usr/lib/postgresql/15/bin/postgres -D /d",
            "postgres",
        ),
        ("/usr/bin/redis-check-rdb", "/", "/usr/bin/redis-server|127.0.0.1:6379", "redis-server"),
        ("/usr/bin/redis-check-rdb", "/", "redis-server|*:6379|[cluster]", "redis-server"),
        ("/usr/bin/memcached", "/", "/usr/bin/memcached -m 64 -p 11211", "memcached"),
        ("/usr/sbin/mysqld", "/", "/usr/sbin/mysqld", "mysqld"),
        ("/usr/sbin/haproxy", "/", "haproxy -f /etc/haproxy.cfg", "haproxy"),
        ("/usr/sbin/php-fpm8.2", "/", "php-fpm:|pool|www", "php-fpm8.2"),
        ("/usr/bin/busybox", "/", "httpd -f -p 80", "httpd"),
        ("/srv/shop/gateway", "/srv/shop", "./gateway --port 8080", "gateway"),
        (
            "/tmp/go-build1/b001/exe/cart-service",
            "/",
            "/tmp/go-build1/b001/exe/cart-service",
            "cart-service",
        ),
        // Python.
        (PYTHON, "/srv/shop", "python3 orders.py", "orders"),
        (PYTHON, "/", "python3 -u -W ignore -X dev /srv/shop/orders.py --port 80", "orders"),
        (PYTHON, "/home/ann/shop/cart", "python3 app.py", "cart"),
        (PYTHON, "/home/ann", "python3 shop/cart/main.py", "cart"),
        (PYTHON, "/srv/billing/src", "python3 -OO ./server.py", "billing"),
        (PYTHON, "/srv/x", "python3 ../cart/main.py", "cart"),
        (PYTHON, "/", "python3 /srv/blog/manage.py runserver 8000", "blog"),
        (PYTHON, "/", "/opt/venv/bin/python3 -m pkg.mod --flag", "pkg.mod"),
        (PYTHON, "/", "python3 -m shop.cart.main", "shop.cart"),
        (PYTHON, "/srv/inventory", "python3 -m app", "inventory"),
        (PYTHON, "/", "python3 -m http.server 8000", "http.server"),
        (
            PYTHON,
            "/",
            "python3 /opt/v/bin/gunicorn -w 4 -b 0.0.0.0:80 shop.wsgi:application",
            "shop",
        ),
        (PYTHON, "/srv/cart", "python3 /opt/v/bin/gunicorn --bind localhost:80 wsgi", "cart"),
        (PYTHON, "/srv/cart", "python3 /opt/v/bin/uvicorn app.main:app --port 80", "cart"),
        (PYTHON, "/", "python3 -m uvicorn orders.main:create_app --factory", "orders"),
        (PYTHON, "/", "python3 /usr/bin/celery -A billing worker -c 4", "billing"),
        (PYTHON, "/", "python3 /usr/bin/flask --app hello run", "hello"),
        (PYTHON, "/", "gunicorn:|worker|[shop]", "shop"),
        (PYTHON, "/srv/pay", "gunicorn:|master|[app:app]", "pay"),
        // Node.
        (NODE, "/srv/web", "node server.js", "web"),
        (
            NODE,
            "/",
            "node --max-old-space-size=512 -r dotenv/config /srv/shop/payments.js",
            "payments",
        ),
        (NODE, "/srv/web", "node dist/src/index.js", "web"),
        (NODE, "/", "node /srv/front/node_modules/.bin/next start", "front"),
        (NODE, "/", "node /usr/lib/node_modules/pm2/bin/pm2 start", "pm2"),
        (NODE, "/srv/front", "node /usr/bin/npm start", "front"),
        ("/usr/bin/bun", "/", "bun run /srv/chat/index.ts", "chat"),
        ("/usr/bin/deno", "/", "deno run --allow-net /srv/notify.ts", "notify"),
        // Java.
        (JAVA, "/", "java -Xmx512m -jar /srv/lib/cart-1.4.2-SNAPSHOT.jar --port=80", "cart"),
        (JAVA, "/srv/orders", "java -jar app.jar", "orders"),
        (JAVA, "/", "java -jar x-1.2.jar", "x"),
        (JAVA, "/", "java -cp /a.jar:/b.jar -Dx=y com.acme.shop.Checkout", "Checkout"),
        (JAVA, "/", "java -classpath /a.jar com.acme.shop.Main", "shop"),
        (JAVA, "/srv/pay", "java Main", "pay"),
        (JAVA, "/srv/shop/payment", "java Payment.java", "Payment"),
        (JAVA, "/", "java -cp /srv/shop com.acme.Main", "acme"),
        (JAVA, "/", "java -m org.shop/org.shop.Stock", "Stock"),
        (JAVA, "/", "java -Dspring.application.name=ledger -jar app.jar", "ledger"),
        (JAVA, "/", "java -Xmx1G -cp /k/* kafka.Kafka /k/server.properties", "kafka"),
        (
            JAVA,
            "/",
            "java -Dzookeeper.log.dir=/l -cp /z org.apache.zookeeper.server.quorum.QuorumPeerMain",
            "zookeeper",
        ),
        (JAVA, "/srv/web", "java -cp . org.springframework.boot.loader.launch.JarLauncher", "web"),
        // Others.
        ("/usr/bin/ruby3.1", "/srv/blog", "ruby bin/rails server", "blog"),
        ("/usr/bin/ruby3.1", "/srv/blog", "puma|6.4.0|(tcp://0.0.0.0:3000)|[blog]", "blog"),
        ("/usr/bin/ruby3.1", "/", "sidekiq|7.2.0|mailer|[0|of|5|busy]", "mailer"),
        ("/usr/bin/ruby3.1", "/", "ruby /srv/fetch.rb", "fetch"),
        ("/usr/bin/php8.2", "/srv/forum", "php artisan serve", "forum"),
        ("/usr/bin/php8.2", "/", "php -S 127.0.0.1:80 -t /srv/forum/public", "forum"),
        ("/usr/bin/php8.2", "/", "php -d x=y /srv/mail/send.php", "send"),
        ("/usr/bin/perl", "/", "perl -w /srv/report.pl", "report"),
        ("/usr/bin/bash", "/", "bash /srv/backup.sh --all", "backup"),
        ("/usr/bin/dash", "/srv/jobs", "/bin/sh ./run.sh", "jobs"),
        ("/usr/bin/dotnet", "/", "dotnet /srv/Shop.Api.dll", "Shop.Api"),
        (
            "/usr/lib/erlang/bin/beam.smp",
            "/",
            "beam.smp -W w -- -sname rabbit@vm1 -noshell",
            "rabbit",
        ),
    ];
    for (exe, folder, line, expected) in rows {
        let found = name(&process(exe, folder, line));
        assert_eq!(found.name, *expected, "{line} ({})", found.source);
        assert!(!found.is_bare, "{line}");
    }
}

#[test]
fn what_names_no_program_is_bare() {
    let rows: &[(&str, &str, &str, &str)] = &[
        (PYTHON, "/", "python3 -c import|time", "python3.11"),
        (PYTHON, "/", "python3", "python3.11"),
        (PYTHON, "/", "python3 /app/main.py", "main"),
        (NODE, "/usr/src/app", "node server.js", "server"),
        ("/usr/bin/bash", "/", "-bash", "bash"),
        ("/usr/bin/bash", "/srv/x", "bash /dev/fd/3", "bash"),
        ("/usr/bin/dash", "/", "sh -c sleep|1", "dash"),
        ("/usr/bin/tini", "/", "tini -- x", "tini"),
        ("", "/", "", "unknown"),
    ];
    for (exe, folder, line, expected) in rows {
        let found = name(&process(exe, folder, line));
        assert_eq!((found.name.as_str(), found.is_bare), (*expected, true), "{line}");
    }
    assert_eq!(name(&process(NODE, "/", "node")).with_port(80).name, "node:80");
}

#[test]
fn what_the_operator_said_comes_first() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = process(PYTHON, "/srv", "python3 orders.py");
        change(&mut facts);
        let found = name(&facts);
        format!("{}: {}", found.source, found.name)
    };
    let variable = |facts: &mut Facts, name: &str, value: &str| {
        facts.environment.insert(name.to_owned(), value.to_owned());
    };
    assert_eq!(with(&|_| {}), "script: orders");
    assert_eq!(with(&|f| variable(f, "DD_SERVICE", "dd")), "environment: dd");
    assert_eq!(with(&|f| variable(f, "OTEL_SERVICE_NAME", "  ")), "script: orders");
    let both = |f: &mut Facts| {
        variable(f, "DD_SERVICE", "dd");
        variable(f, "OTEL_RESOURCE_ATTRIBUTES", "service.name=otel");
    };
    assert_eq!(with(&both), "environment: otel");

    let pod = |f: &mut Facts| {
        variable(f, "KUBERNETES_SERVICE_HOST", "10.0.0.1");
        variable(f, "HOSTNAME", "cart-7d9f8b6c5d-x2x4z");
    };
    assert_eq!(with(&pod), "kubernetes: cart");
    let on_host_network = |f: &mut Facts| {
        variable(f, "KUBERNETES_SERVICE_HOST", "10.0.0.1");
        variable(f, "HOSTNAME", "vm1");
    };
    assert_eq!(with(&on_host_network), "script: orders");
    assert_eq!(with(&|f| variable(f, "HOSTNAME", "vm1")), "script: orders");

    let cgroup = |path: &str| {
        let cgroup = format!("0::{}\n", path.replace("ID", ID));
        with(&move |f: &mut Facts| f.cgroup.clone_from(&cgroup))
    };
    assert_eq!(cgroup("/system.slice/shop.service"), "unit: shop");
    assert_eq!(cgroup("/system.slice/shop@2.service/workers"), "unit: shop");
    assert_eq!(cgroup(r"/system.slice/my\x2dshop.service"), "unit: my-shop");
    assert_eq!(cgroup("/user.slice/user@1000.service/app.slice/x.scope"), "script: orders");
    assert_eq!(cgroup("/user.slice/user@1000.service/app.slice/feed.service"), "unit: feed");
    assert_eq!(cgroup("/system.slice/cron.service"), "script: orders");
    assert_eq!(cgroup("/system.slice/actions.runner.acme-shop.r1.service"), "script: orders");
    assert_eq!(cgroup("/system.slice/engine.service/docker/ID"), "script: orders");
    assert_eq!(cgroup("/docker/ID/system.slice/shop.service"), "unit: shop");
}

#[test]
fn a_short_id_is_better_than_a_word_that_fits_many() {
    let mut facts = process(NODE, "/app", "node server.js");
    facts.cgroup = format!("0::/system.slice/docker-{ID}.scope\n");
    assert_eq!((name(&facts).source, name(&facts).name.as_str()), ("container", "3f4e0a7c9b1d"));
    facts = process("/usr/sbin/nginx", "/", "nginx:|worker|process");
    facts.cgroup = format!("0::/system.slice/docker-{ID}.scope\n");
    assert_eq!(name(&facts).name, "nginx");
}

#[test]
fn configured_rules_match_globs_in_order() {
    let rule = |pattern: &str, name: &str| ServiceRule {
        pattern: pattern.to_owned(),
        name: name.to_owned(),
    };
    let rules =
        [rule("python3 */cart.py*", "cart-x"), rule("ngin?", "edge"), rule("*/java", "jvm")];
    let names = Names::new(&rules, "vm1").expect("they are globs");
    let rows = [
        (process(PYTHON, "/", "python3 /srv/cart.py --port 80"), "cart-x"),
        (process(PYTHON, "/", "python3 /srv/orders.py"), "orders"),
        (process("/usr/sbin/nginx", "/", "nginx:|worker|process"), "edge"),
        (process(JAVA, "/", "java -jar x.jar"), "jvm"),
    ];
    for (facts, expected) in rows {
        assert_eq!(names.name(&facts).name, expected);
    }
    let error = Names::new(&[rule("a[", "x")], "").expect_err("not a glob").to_string();
    assert!(error.contains("`a[`"), "{error}");
}

#[test]
fn names_are_bounded_and_printable() {
    let mut facts = process(NODE, "/", "node");
    facts.environment.insert("DD_SERVICE".to_owned(), format!("a\nb{}", "é".repeat(500)));
    let name = name(&facts).name;
    assert!(name.starts_with("abé") && name.chars().count() == 128, "{name}");
}
