//! PHP's FastCGI server of Debian.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, python};
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "php-fpm",
    protocol: "fastcgi",
    packages: &["php8.2-fpm"],
    start,
    client: |_| Ok(python::program("fastcgi_client.py")),
    ..BASE
};

const CONFIG: &str = "
[global]
daemonize = no
error_log = FOLDER/php.log
[all]
user = root
group = root
listen = 127.0.0.1:PORT
pm = static
pm.max_children = 6
";

fn start(setting: &Setting) -> Result<Vec<Kept>> {
    setting
        .write("index.php", "<?php echo \"hello \" . strlen(file_get_contents('php://input'));")?;
    setting.write("broken.php", "<?php http_response_code(500); echo \"500 later\";")?;
    let config = setting.write("php.conf", CONFIG)?;
    let mut command = Command::new("php-fpm8.2");
    Ok(vec![setting.start("php-fpm", command.args(["-n", "-R", "-F", "-y", &config]))?])
}
