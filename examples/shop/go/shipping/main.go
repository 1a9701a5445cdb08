// shipping: what delivery costs and how long it takes, from PostgreSQL; one region in five is
// slow to look up.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"

	"deeptrace.example/shop/truth"
)

var postgres *truth.Postgres

func main() {
	truth.Open("shipping")
	var err error
	if postgres, err = truth.OpenPostgres(truth.Environment("POSTGRES_PORT"), 6); err != nil {
		log.Fatal(err)
	}
	truth.Run(map[string]func(int64, *http.Request) (int, string){"/quote/": quote})
}

func quote(number int64, r *http.Request) (int, string) {
	user, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/quote/"))
	if err != nil {
		return http.StatusNotFound, `{"error":"no such user"}`
	}
	var days, cents int
	err = postgres.With(r.Context(), func(conn *sql.Conn, local int) error {
		if err := postgres.Row(r.Context(), conn, local, number, "SELECT regions",
			"SELECT days FROM regions WHERE id = $1", &days, user%10); err != nil {
			return err
		}
		if user%5 == 0 {
			return postgres.Row(r.Context(), conn, local, number, "SELECT rates",
				"SELECT cents FROM rates, pg_sleep(0.08) WHERE days = $1", &cents, days)
		}
		return postgres.Row(r.Context(), conn, local, number, "SELECT rates",
			"SELECT cents FROM rates WHERE days = $1", &cents, days)
	})
	if err != nil {
		return http.StatusInternalServerError, `{"error":"database"}`
	}
	return http.StatusOK, fmt.Sprintf(`{"days":%d,"cents":%d}`, days, cents)
}
