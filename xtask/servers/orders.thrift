struct Order { 1: i32 id, 2: string note }
exception Missing { 1: string why }
service Orders {
    Order get(1: i32 id) throws (1: Missing missing),
    list<Order> all(1: i32 count),
    oneway void note(1: string text),
}
