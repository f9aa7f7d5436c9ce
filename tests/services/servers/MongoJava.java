import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.util.List;

/** mongo-java-server in memory on 127.0.0.1, with an oplog (change streams). Argument: the port. */
public class MongoJava {
  public static void main(String[] arguments) {
    MemoryBackend backend = new MemoryBackend();
    // its own "5.0" says wire version 8, which today's drivers refuse; a MongoDB 5.0 says 13
    backend.version(new MongoVersion() {
      @Override public List<Integer> getVersionArray() { return List.of(5, 0, 0); }
      @Override public int getWireVersion() { return 13; }
    });
    MongoServer server = new MongoServer(backend);
    server.enableOplog();
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
  }
}
