package truth

import (
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// Run serves until the process is asked to end, then brings the truth to its file.
func Run(routes map[string]func(number int64, r *http.Request) (int, string)) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		Flush()
		os.Exit(0)
	}()
	log.Fatal(Serve(routes))
}
