// recommend: what else a customer may like. Rankings are in Redis, products are asked of catalog:
// in parallel for one endpoint, one after the other for the other.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"strings"
	"sync"

	"deeptrace.example/shop/truth"
)

var (
	redis   *truth.Redis
	catalog = truth.Environment("CATALOG_PORT")
)

func main() {
	truth.Open("recommend")
	var err error
	if redis, err = truth.OpenRedis(truth.Environment("REDIS_PORT"), 6); err != nil {
		log.Fatal(err)
	}
	for product := 1; product <= 20; product++ {
		redis.Do(context.Background(), 0, "ZADD", "liked", product, product)
	}
	truth.Run(map[string]func(int64, *http.Request) (int, string){
		"/recommend/": recommend,
		"/similar/":   similar,
	})
}

// recommend asks for the most liked products, and for each in turn.
func recommend(number int64, r *http.Request) (int, string) {
	top, err := redis.Do(r.Context(), number, "ZREVRANGE", "liked", 0, 2).StringSlice()
	if err != nil {
		return http.StatusInternalServerError, `{"error":"redis"}`
	}
	products := make([]json.RawMessage, 0, len(top))
	for _, product := range top {
		if status, body := truth.Call(r.Context(), number, "GET", catalog, "/products/"+product); status == 200 {
			products = append(products, json.RawMessage(body))
		}
	}
	return answer(products)
}

// similar counts the visit, and asks for two products in parallel.
func similar(number int64, r *http.Request) (int, string) {
	product := strings.TrimPrefix(r.URL.Path, "/similar/")
	redis.Do(r.Context(), number, "ZINCRBY", "liked", 1, product)
	near, err := redis.Do(r.Context(), number, "ZRANDMEMBER", "liked", 2).StringSlice()
	if err != nil {
		return http.StatusInternalServerError, `{"error":"redis"}`
	}
	products := make([]json.RawMessage, len(near))
	var all sync.WaitGroup
	for i, each := range near {
		all.Add(1)
		go func(i int, each string) {
			defer all.Done()
			products[i] = json.RawMessage(`null`)
			if status, body := truth.Call(r.Context(), number, "GET", catalog, "/products/"+each); status == 200 {
				products[i] = json.RawMessage(body)
			}
		}(i, each)
	}
	all.Wait()
	return answer(products)
}

func answer(products []json.RawMessage) (int, string) {
	body, err := json.Marshal(products)
	if err != nil {
		return http.StatusInternalServerError, `{"error":"catalog"}`
	}
	return http.StatusOK, string(body)
}
