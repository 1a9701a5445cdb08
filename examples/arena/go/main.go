// Command front makes two calls a request on Go: in the handler, by eight workers behind a channel, by
// goroutines of their own. front PORT BACKEND_PORT
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
)

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

func call(token string, number int) string {
	text := fmt.Sprintf("%s:%s:%d", os.Getenv("ARENA_KEY"), token, number)
	hash := sha256.Sum256([]byte(text))
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%s/b/%x", os.Args[2], hash[:8]))
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

type job struct {
	token  string
	number int
	result chan string
}

func workers(jobs chan job) chan job {
	for range 8 {
		go func() {
			for each := range jobs {
				each.result <- call(each.token, each.number)
			}
		}()
	}
	return jobs
}

func direct(token string) string { return call(token, 1) + call(token, 2) }

func through(jobs chan job) func(string) string {
	return func(token string) string {
		body := ""
		for number := 1; number <= 2; number++ {
			result := make(chan string, cap(jobs)/256)
			jobs <- job{token, number, result}
			body += <-result
		}
		return body
	}
}

func parallel(token string) string {
	var group sync.WaitGroup
	var results [2]string
	for i := range results {
		group.Add(1)
		go func() {
			defer group.Done()
			results[i] = call(token, i+1)
		}()
	}
	group.Wait()
	return results[0] + results[1]
}

func main() {
	ways := map[string]func(string) string{
		"direct":   direct,
		"channel":  through(workers(make(chan job))),
		"buffered": through(workers(make(chan job, 256))),
		"parallel": parallel,
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		fmt.Fprint(w, ways[parts[1]](parts[2]))
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
