// A TARS servant on 127.0.0.1: PORT. What a generator would make for `interface Orders { string get(string
// order); string refuse(string order); void note(string text); }` is written out.
const Tars = require("@tars/rpc");
const stream = require("@tars/stream");

function Orders() {}
Orders.prototype.initialize = () => {};
Orders.prototype.onDispatch = (current, method, data) => {
  const order = new stream.TarsInputStream(data).readString(1, true, "");
  if (method === "refuse") {
    current.sendErrorResponse(-17, `no ${order}`);
    // It is answered; anything else would be sent as a second answer.
    return 0;
  }
  const answer = new stream.TarsOutputStream();
  if (method === "get") answer.writeString(0, `got ${order}`);
  current.doResponse(answer.getBinBuffer());
  return 0;
};

Tars.server.createServer(Orders).start({
  name: "Shop.Orders.OrdersObjAdapter",
  servant: "Shop.Orders.OrdersObj",
  endpoint: `tcp -h 127.0.0.1 -p ${process.argv[2]} -t 60000`,
  protocol: "tars",
  maxconns: 1000,
});
