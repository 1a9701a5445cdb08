package shop;

/** What is called. */
public interface Orders {
  String get(String order);

  String refuse(String order);

  void note(String text);
}
