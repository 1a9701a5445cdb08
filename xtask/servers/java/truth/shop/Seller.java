package shop;

/** What answers. */
public class Seller implements Orders {
  public String get(String order) {
    return "got " + order;
  }

  public String refuse(String order) {
    throw new IllegalStateException("no " + order);
  }

  public void note(String text) {
  }
}
