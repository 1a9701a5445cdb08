// checkout: buys what is in a cart. Cart and shipping are asked in parallel, then payment; the
// cart is emptied only when payment agreed.
package main

import (
	"net/http"
	"strings"

	"deeptrace.example/shop/truth"
)

var (
	cart     = truth.Environment("CART_PORT")
	shipping = truth.Environment("SHIPPING_PORT")
	payment  = truth.Environment("PAYMENT_PORT")
)

func main() {
	truth.Open("checkout")
	truth.Run(map[string]func(int64, *http.Request) (int, string){"/checkout/": checkout})
}

func checkout(number int64, r *http.Request) (int, string) {
	user := strings.TrimPrefix(r.URL.Path, "/checkout/")
	quote := make(chan int, 1)
	go func() {
		status, _ := truth.Call(r.Context(), number, "GET", shipping, "/quote/"+user)
		quote <- status
	}()
	status, _ := truth.Call(r.Context(), number, "GET", cart, "/carts/"+user)
	if shipped := <-quote; status != 200 || shipped != 200 {
		return http.StatusInternalServerError, `{"error":"cart or shipping"}`
	}
	if status, _ := truth.Call(r.Context(), number, "POST", payment, "/payments/"+user); status != 200 {
		return http.StatusBadGateway, `{"error":"payment refused"}`
	}
	truth.Call(r.Context(), number, "DELETE", cart, "/carts/"+user)
	return http.StatusOK, `{"bought":true}`
}
