// HTTPS with Go's own TLS, as a server or a client; see peer.py.
//
//	peer serve PORT CERTIFICATE KEY      peer ask|ask1 PORT CERTIFICATE
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func must(err error) {
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
}

func serve(port, certificate, key string) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		size, _ := strconv.Atoi(parts[len(parts)-1])
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Write([]byte(strings.Repeat("x", size)))
	}
	go func() { must(http.ListenAndServeTLS("127.0.0.1:"+port, certificate, key, http.HandlerFunc(answer))) }()
	fmt.Println("ok")
	io.ReadAll(os.Stdin)
}

func client(certificate string, second bool) *http.Client {
	pem, err := os.ReadFile(certificate)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost"},
		ForceAttemptHTTP2: second,
	}
	return &http.Client{Transport: transport}
}

func ask(port, certificate string, second bool) {
	fmt.Println("ok")
	kept := map[string]*http.Client{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if words[0] == "open" {
			kept[words[1]] = client(certificate, second)
		} else {
			fill, _ := strconv.Atoi(words[3])
			request, err := http.NewRequest("GET", "https://127.0.0.1:"+port+words[2], nil)
			must(err)
			request.Header.Set("X-Fill", strings.Repeat("f", fill))
			response, err := kept[words[1]].Do(request)
			must(err)
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		fmt.Println("ok")
	}
}

func main() {
	switch role := os.Args[1]; role {
	case "serve":
		serve(os.Args[2], os.Args[3], os.Args[4])
	default:
		ask(os.Args[2], os.Args[3], role == "ask")
	}
}
