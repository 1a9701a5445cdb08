//! Values in texts of every kind: what lies between « and » must be found, and nothing else.

use super::find;
use crate::patterns::Patterns;

fn check(text: &str) {
    check_cut(text, false);
}

fn check_cut(text: &str, is_cut: bool) {
    let names = ["password", "ssn", "credit_card"].map(str::to_owned);
    let patterns = Patterns::new(&names, &["X-Key".to_owned()]).unwrap().unwrap();
    let mut places = Vec::new();
    find(&patterns, text.replace(['«', '»'], "").as_bytes(), is_cut, &mut places);
    // What is found twice is shown once.
    places.sort_by_key(|place| place.start);
    places.dedup_by(|later, earlier| {
        let is_within = later.start <= earlier.end;
        earlier.end = if is_within { earlier.end.max(later.end) } else { earlier.end };
        is_within
    });
    let mut shown = text.replace(['«', '»'], "");
    for place in places.iter().rev() {
        shown.insert(place.end, '»');
        shown.insert(place.start, '«');
    }
    assert_eq!(shown, text);
}

#[test]
fn json() {
    check(r#"{"user":"ann","password":"«x y»","n":1}"#);
    check(r#"{"userPasswordHash" : "«x»"}"#);
    check(r#"{"my password": "«x»"}"#);
    check(r#"{"password":«12345»,"ssn":«null»}"#);
    check(r#"{"ssn":«["1","2"]»,"a":{"b":[{"credit_card":«{"no":"1"}»}]}}"#);
    check(r#"{"p\u0061ssword":"«x»","\u0070\u0061ss":1}"#);
    check(r#"{"body":"{\"password\":\"«x\\\"y»\",\"n\":1}","c":2}"#);
    check(r#"{"b":"{\"c\":\"{\\\"p\\u0061ssword\\\":\\\"«x»\\\"}\"}"}"#);
    check("{\n  \"password\" :\n    \"«x»\"\n}");
    check(r#"{"password":"«cut»"#);
    check(r#"{"a":1,"password""#);
    check(r#"{"query":"mutation{login(password:\"«x»\",a:1)}","variables":{"password":"«y»"}}"#);
    check(r#"[{«"name":"password","value":"x"»},{"name":"b"}]"#);
    check(r#"[{«"value":"x","name":"password"»},{"name":"b"}]"#);
    check(r#"[[«"password","x"»],["a","b"]]"#);
    check(r#"{"message":"the password is not right","code":1}"#);
    check(r#"{"className":"a","class_names":"b"}"#);
}

#[test]
fn what_is_cut_before_its_name() {
    check_cut(r#"[{"a":1},{«"value":"x"»"#, true);
    check_cut(r#"[{"a":1},{«"value":"x»"#, true);
    check_cut(r#"[{"a":1},{"city":"x"#, true);
    check_cut("<a/>«<p value=\"x\"»", true);
    check_cut("<p value=\"x\">y", true);
}

#[test]
fn forms_and_queries() {
    check("a=1&password=«x%20y,z;'»&b=2");
    check("user[password]=«x»&b=2");
    check("user%5Bpassword%5D=«x»&b=2");
    check("password[]=«a»&password[0][x]=«b»");
    check("p%61ssword=«x»&b");
    check("next=%2Flogin%3Fpassword%3D«x%26b%3D1»&c=2");
    check("json=%7B%22password%22%3A%22«x»%22%2C%22a%22%3A1%7D");
    check("/users/ssn/«123-45-6789»?a=b");
    check("/users/ssn?a=b");
}

#[test]
fn heads() {
    check("Host: a\r\nX-Key: «a, b»\r\nX-Keys: c\r\nX-Password-Next: «d e»\r\nA: b\r\n");
    check("X-Key: «a\r\n  folded»\r\nB: c\r\n");
    check("Referer: http://a/?password=«x»\r\nB: c\r\n");
}

#[test]
fn elements_and_parts() {
    check("<a><password>«x<b/>»</password><c>1</c></a>");
    check("<s:password« t=\"1\">x»</s:password>");
    check("<user password=\"«x»\" a=\"1\"/>");
    check("<«param name=\"password\" value=\"x\"/>»<a/>");
    check("<a/><«param value=\"x\" name=\"password\"/>»<a/>");
    check("<«param name=\"password\">x»</param>");
    check("<key>password«</key><string>x</string>»");
    check("--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n«x\r\ny»\r\n--b\r\n");
    check("--b\r\nContent-Disposition: form-data; name=\"my password\"\r\n\r\n«x»");
    check("<password>«cut»");
}

#[test]
fn lines() {
    check("password: «a, b»\nuser: c\n");
    check("mysql --password «x» --host y");
    check("UPDATE u SET password = ? WHERE id = ?");
    check("INSERT INTO u SET password='«it''s»', a=1");
    check("ALTER USER a PASSWORD '«x»'");
    check("Server=a;Password=«x;y»\nz");
}
